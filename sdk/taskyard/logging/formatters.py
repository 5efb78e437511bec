"""How a log record looks on a console.

``09:55:55.412 | INFO    | Flow run 'great-ammonite' - message``, with colours only on a terminal: files
and pipes get the same text without escape codes.
"""

import logging
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from taskyard._missing_features import absent_names

if TYPE_CHECKING:
    from rich.console import Console

_LEVEL_STYLES: Final = {
    logging.DEBUG: "blue",
    logging.INFO: "cyan",
    logging.WARNING: "yellow",
    logging.ERROR: "bold red",
    logging.CRITICAL: "bold reverse red",
}
_STATE_STYLES: Final = {
    "Completed": "green",
    "Cached": "green",
    "Failed": "red",
    "TimedOut": "red",
    "Crashed": "magenta",
    "Cancelled": "yellow",
    "AwaitingRetry": "yellow",
}


class ConsoleFormatter(logging.Formatter):
    """Formats records of runs and of Taskyard itself."""

    def __init__(self) -> None:
        """Show times without the day: what is on a console is of today."""
        super().__init__(datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by a traceback where the record has one."""
        text = f"{self.head(record)}{subject_of(record)} - {record.getMessage()}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text

    def head(self, record: logging.LogRecord) -> str:
        """Return time and level, with separators."""
        time = f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}"
        return f"{time} | {record.levelname:<7} | "


def subject_of(record: logging.LogRecord) -> str:
    """Return what a record is about: its run, else its logger."""
    if name := getattr(record, "task_run_name", ""):
        return f"Task run '{name}'"
    if name := getattr(record, "flow_run_name", ""):
        return f"Flow run '{name}'"
    return record.name


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes to the standard error of the moment, so that redirections made later are followed."""

    def __init__(self) -> None:
        """Open nothing: the stream is looked up for each record."""
        logging.Handler.__init__(self)
        self.setFormatter(ConsoleFormatter())
        self._console: tuple[TextIO, Console] | None = None

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute in the base class, looked up here
        """The standard error of the moment."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self.stream
            if stream.isatty():
                self._console_of(stream).print(self._coloured(record), soft_wrap=True)
            else:
                stream.write(self.format(record) + "\n")
                stream.flush()
        except RecursionError:
            raise
        except Exception:  # logging must not break the program; logging reports this its own way
            self.handleError(record)

    def _console_of(self, stream: TextIO) -> "Console":
        if self._console is None or self._console[0] is not stream:
            # Imported here: programs without a terminal do without rich's import time.
            from rich.console import Console

            self._console = stream, Console(file=stream, highlight=False)
        return self._console[1]

    def _coloured(self, record: logging.LogRecord) -> Any:
        from rich.text import Text

        text = Text(self.format(record))
        text.highlight_words([f"{record.levelname:<7}"], _LEVEL_STYLES.get(record.levelno, ""))
        text.highlight_words([subject_of(record)], "bold")
        for word, style in _STATE_STYLES.items():
            text.highlight_regex(rf"\b{word}\(", style)
        return text


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
