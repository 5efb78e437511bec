"""Entry point of ``python -m taskyard_agent``."""

import sys

if __name__ == "__main__":
    try:
        # In here, because Ctrl-C may come while all of it is imported.
        from taskyard_agent.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
