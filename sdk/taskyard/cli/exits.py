"""How the command line ends: its exit codes are part of its interface, because scripts decide by them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit codes of commands that talk to a server; what runs in the foreground has its own."""

    OK = 0
    """Done."""
    FAILED = 1
    """There is no such run, a run that was followed did not complete, or the server refused."""
    USAGE = 2
    """The command line, or a variable of the environment, is wrong. Repeating it does not help."""
    UNREACHABLE = 3
    """No server could be reached."""
    NOT_INSTALLED = 4
    """A package that the command needs is missing."""


INTERRUPTED: Final = 130
"""Ctrl-C ended it: the code by which shells say that of any program."""

EPILOG: Final = (
    "Exit codes: 0 done; 1 no such run, a followed run did not complete, or the server refused; "
    "2 wrong usage; 3 no server could be reached; 4 a package is missing."
)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Let Ctrl-C be the usual way to end a command that goes on by itself: it says nothing."""
    try:
        yield
    except KeyboardInterrupt:
        # It may have come between a call and its first step.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        raise SystemExit(INTERRUPTED) from None


class CliError(Exception):
    """Something a person has to know; ends the command."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        """Describe it.

        Args:
            message: What was wrong, where, and what to do.
            code: How the program ends.
        """
        super().__init__(message)
        self.code = code
