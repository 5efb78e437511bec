"""Entry point of ``python -m taskyard_controlplane``."""

import sys

from taskyard_controlplane.cli import main

if __name__ == "__main__":
    sys.exit(main())
