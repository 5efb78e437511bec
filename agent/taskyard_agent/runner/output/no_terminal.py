"""What tasks meet in a worker that want to talk to somebody: there is nobody, and they are told so."""

import io
import os
import sys
from typing import Any, Final, NoReturn

HINT: Final = (
    "set TASKYARD_TASK_RUNNER=threads, and the program's own process executes its tasks, with its terminal"
)


class NoInput(io.TextIOBase):
    """Stands for standard input, from which nothing can be read."""

    name = "<stdin>"
    encoding = "utf-8"

    def _refuse(self) -> NoReturn:
        # Not EOFError: debuggers would take it for the wish to leave, and say nothing.
        raise io.UnsupportedOperation(
            f"this task is executed by an agent, where nobody can type anything in; {HINT}"
        )

    def read(self, size: int | None = -1) -> str:
        """Refuse."""
        self._refuse()

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        """Refuse."""
        self._refuse()

    def readable(self) -> bool:
        """Say yes, as standard input does."""
        return True

    def fileno(self) -> int:
        """Return what other programs inherit, which is at its end."""
        return 0


def install() -> None:
    """Tell code that reads or stops at a breakpoint what to do instead."""
    sys.stdin = sys.__stdin__ = NoInput()  # type: ignore[misc, assignment]
    ordinary = sys.breakpointhook

    def stop(*args: Any, **kwargs: Any) -> Any:
        if os.environ.get("PYTHONBREAKPOINT"):  # a debugger that needs no terminal, or none at all
            return ordinary(*args, **kwargs)
        raise RuntimeError(f"breakpoint(): this task is executed by an agent, without a terminal; {HINT}")

    sys.breakpointhook = stop
