"""Entry point of ``python -m taskyard_controlplane``."""

import sys

if __name__ == "__main__":
    try:
        # In here, because Ctrl-C may come while all of it is imported.
        from taskyard_controlplane.cli import leave, main

        leave(main())
    except KeyboardInterrupt:
        sys.exit(130)
