"""How the programs of a yard, of a server and of an agent log: all of them in the same lines.

``2026-01-31 08:00:00,123 ERROR taskyard.task_runs: Task run 'load-3' - message``. Several processes write
into one file, so every line says when it was written and what it is about by itself.
"""

import logging
import os
import stat
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """Formats records of programs, and of the runs they execute."""

    def __init__(self) -> None:
        """Format as all programs do."""
        super().__init__(FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name it has in `logging`
        """Return the line without a traceback, with the run that the record belongs to."""
        record.message = subject_of(record) + record.message
        return super().formatMessage(record)


def subject_of(record: logging.LogRecord) -> str:
    """Return which run a record belongs to, in front of its message; nothing when it is none of a run."""
    if name := getattr(record, "task_run_name", ""):
        return f"Task run '{name}' - "
    if name := getattr(record, "flow_run_name", ""):
        return f"Flow run '{name}' - "
    return ""


def log_to_stderr(level: int) -> None:
    """Let this process write what it logs to its standard error, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler])


def say_ready(line: str, logger: logging.Logger) -> None:
    """Print the one line of standard output that says that a program is ready.

    Where standard output goes into the file of the log, as that of a yard in the background, it is a line of
    the log.
    """
    if logger.isEnabledFor(logging.INFO) and _into_one_file():
        logger.info("%s", line)
    else:
        print(line, flush=True)


def _into_one_file() -> bool:
    try:
        out, log = os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or no files at all
        return False
    return stat.S_ISREG(out.st_mode) and os.path.samestat(out, log)
