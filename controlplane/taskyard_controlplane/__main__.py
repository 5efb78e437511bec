"""Entry point of ``python -m taskyard_controlplane``."""

from taskyard_controlplane.cli import leave, main

if __name__ == "__main__":
    leave(main())
