"""The command line ``taskyard``.

Importing this package imports nothing else: a shell asks for ``taskyard --help`` more often than for
anything that needs a connection.
"""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    try:
        from taskyard.cli.app import run

        sys.exit(run())
    except KeyboardInterrupt:  # while all of it is imported
        sys.exit(130)
