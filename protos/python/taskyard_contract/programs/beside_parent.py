"""Runs the program of a module, which ends with the process that has started it.

    python -m taskyard_contract.programs.beside_parent PARENT MODULE [ARGUMENT...]

For parents that use gRPC: calling something between fork and exec, as `before_exec` does, has its handlers of
forks called as well, and they can crash.
"""

import runpy
import signal
import sys
from collections.abc import Sequence

from taskyard_contract.programs.dying_with_parent import die_with


def command(parent: int, module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line that runs a module's program with this interpreter.

    Args:
        parent: The process that starts it, from a thread that lives as long as it may.
        module: What to run.
        arguments: Its command line.
    """
    return [sys.executable, "-m", __name__, str(parent), module, *arguments]


def main() -> None:
    """Be that program."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    die_with(parent, signal.SIGTERM)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
