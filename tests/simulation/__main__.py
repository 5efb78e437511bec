"""Plays seeds, or a plan: `python -m simulation --help`."""

import sys

from simulation.command import main

if __name__ == "__main__":
    sys.exit(main())
