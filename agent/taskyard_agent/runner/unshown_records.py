"""Log records of libraries that nobody has configured a handler for in the worker: the program shows them.

At home they would go to the handlers that the program has configured, whatever these are; so its process gets
them and gives them to these. A worker has no handler at its root, and what tasks configure themselves counts
as it does everywhere.
"""

import json
import logging
import os
from collections.abc import Callable

from taskyard_agent.runner.output_lines import MAX_LINE


class Forwarding(logging.Handler):
    """Takes what no handler took, as `logging.lastResort` does."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        """Hand records, written as JSON, to `take`; which levels are wanted the program has said."""
        super().__init__(logging.NOTSET)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        try:
            self._take(_written(record))
        except Exception:  # logging must not break the program; logging reports this its own way
            self.handleError(record)


def _written(record: logging.LogRecord) -> bytes:
    text = record.getMessage()
    exc_text = record.exc_text
    if record.exc_info and not exc_text:
        exc_text = logging.Formatter().formatException(record.exc_info)
    attributes = {
        "name": record.name,
        "levelno": record.levelno,
        "levelname": record.levelname,
        "msg": _cut(text),
        "created": record.created,
        "pathname": record.pathname,
        "lineno": record.lineno,
        "funcName": record.funcName,
        "exc_text": exc_text and _cut(exc_text),
        "stack_info": record.stack_info and _cut(record.stack_info),
        "threadName": record.threadName,
        "process": record.process,
    }
    return json.dumps({name: value for name, value in attributes.items() if value is not None}).encode()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}... (cut)"


def install(take: Callable[[bytes], None]) -> None:
    """Have records of this process taken that no handler takes; those of the zygote are not the worker's."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    before, logging.lastResort = logging.lastResort, Forwarding(take)

    def restore() -> None:
        logging.lastResort = before  # nobody hears what a copy of the worker has to tell

    os.register_at_fork(after_in_child=restore)
