"""Entry point of ``python -m taskyard_agent``."""

import sys

from taskyard_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
