"""Log records of libraries that the program's handlers are for: its own process shows them.

At home they would go to the handlers that the program has configured, whatever these are; so its process gets
them and gives them to these. What tasks, and modules, configure in the worker itself counts as it does
everywhere, and is not shown a second time.
"""

import json
import logging
import os
from collections.abc import Callable

from taskyard_agent.runner.output.lines import MAX_LINE
from taskyard_contract.world import log_settings


class Forwarding(logging.Handler):
    """Takes what no handler took, as `logging.lastResort` does; or stands for the handlers of the root."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        """Hand records, written as JSON, to `take`; which levels are wanted the program has said."""
        super().__init__(logging.NOTSET)
        self._take = take
        self.to: logging.Handler | None = None
        """Who takes them instead."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        if self.to is not None:
            self.to.handle(record)
            return
        try:
            self._take(_written(record, self._handled(record.name)))
        except Exception:  # logging must not break the program; logging reports this its own way
            self.handleError(record)

    def _handled(self, name: str) -> list[str]:
        """Name the loggers whose handlers have seen a record here."""
        handled: list[str] = []
        one: logging.Logger | None = logging.getLogger(name)
        while one is not None:
            if any(handler is not self for handler in one.handlers):
                handled.append(one.name)
            one = one.parent if one.propagate else None
        return handled


def _written(record: logging.LogRecord, handled: list[str]) -> bytes:
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
        "handled": handled or None,
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
    forwarding = Forwarding(take)
    before, logging.lastResort = logging.lastResort, forwarding
    log_settings.shown_elsewhere = forwarding

    def restore() -> None:
        # Nobody hears what a copy of the worker has to tell: it says it where it can be seen.
        logging.lastResort = before
        forwarding.to = before

    os.register_at_fork(after_in_child=restore)
