"""Turns printed lines into log records, for runs with ``log_prints``.

Standard output is replaced by an object that asks for the current run at each write: replacing it for every
run would cost more than most tasks, and would mix up runs in threads. Output of other runs and of the program
itself passes through unchanged. In a worker it stays; a program has its own stream back when none of its runs
is executed any more.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from taskyard.context import RunContext, current_context
from taskyard.logging.loggers import RunLogger, configure


class PrintCapture:
    """Stands in for standard output; everything but `write` is the real one's."""

    def __init__(self, real: TextIO) -> None:
        """Pass on to `real` what no run wants logged."""
        self.real = real

    def write(self, text: str) -> int:
        """Log full lines if the current run wants that, else write them."""
        context = current_context()
        if context is None or not context.log_prints:
            return self.real.write(text)
        *lines, context.print_buffer = (context.print_buffer + text).split("\n")
        context.unfinished = partial(flush, context)
        if lines:
            logger = _logger_of(context)
            for line in lines:
                logger.info("%s", line)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Be the real one in everything else."""
        return getattr(self.real, name)


def capture_prints() -> None:
    """Install the capture if standard output is not captured already."""
    stream = sys.stdout
    if type(stream) is not PrintCapture:
        sys.stdout = PrintCapture(stream)


@contextmanager
def captured_prints() -> Iterator[None]:
    """Install the capture for a block; the program's own stream is back when the last of these has ended."""
    _change_users(1)
    try:
        yield
    finally:
        _change_users(-1)


def _change_users(by: int) -> None:
    global _users, _installed
    with _lock:
        if _users == 0 and type(sys.stdout) is not PrintCapture:
            _installed = sys.stdout = PrintCapture(sys.stdout)
        _users += by
        if _users == 0 and _installed is not None:
            if sys.stdout is _installed:
                sys.stdout = _installed.real
            _installed = None


def _after_fork() -> None:
    # Another thread of the parent may have held it.
    global _lock
    _lock = threading.Lock()


_lock = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)
_users = 0
_installed: "PrintCapture | None" = None
"""What was installed by such a block, and is to go with it."""


def flush(context: RunContext) -> None:
    """Log what was printed without a newline at the end."""
    text, context.print_buffer = context.print_buffer, ""
    if text:
        _logger_of(context).info("%s", text)


def _logger_of(context: RunContext) -> RunLogger:
    configure()
    return RunLogger(context, {})
