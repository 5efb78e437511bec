"""Shows below what a program prints how far its flow runs are: a line for each that waits for runs.

Only on a terminal, only for programs that people started there, and only after a second: quick flows show
nothing. A thread of its own looks a few times per second at numbers that exist anyway; it does not live in
other programs, and a terminal that takes nothing (Ctrl-S) holds up nobody but it.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskyard import settings
from taskyard._engine.progress.watched import Place, Watched
from taskyard._network.session.session import Session
from taskyard.logging import terminal

logger = logging.getLogger("taskyard.progress")

TICK_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 1.0
"""Nothing is shown of a flow run that has waited no longer than this."""
MOST_ROWS: Final = 5
"""Further flow runs are only counted."""


class Board:
    """The flow runs of this process that are watched, and the thread that shows them."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._lock = threading.Lock()
        self._watched: list[Watched] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @contextmanager
    def showing(self, name: str, place: Place, session: Session) -> Iterator[None]:
        """Show how far a flow run is while its body is executed."""
        watched, process = Watched(name, place, session), os.getpid()
        self._begin(watched)
        try:
            yield
        finally:
            if os.getpid() == process:  # or the body has forked, and this is the child
                self._end(watched)

    def _begin(self, watched: Watched) -> None:
        watched.session.count_ends(watched.ends)
        with self._lock:
            self._watched.append(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._show_all, name="taskyard-progress", daemon=True)
                self._thread.start()
        self._wake.set()

    def _end(self, watched: Watched) -> None:
        watched.session.count_ends_no_more(watched.ends)
        with self._lock:
            self._watched.remove(watched)
            if not self._watched:
                terminal.hide()

    def _show_all(self) -> None:
        try:
            while True:
                self._wake.wait()
                time.sleep(TICK_SECONDS)
                self._show()
        except Exception:  # it is a convenience: the program goes on without
            logger.debug("the progress line broke down", exc_info=True)
            terminal.hide()

    def _show(self) -> None:
        watched = self._watched.copy()
        for one in watched:
            one.look(ask=self._is_due(one), alone=len(watched) == 1)
        rows = self._rows([one for one in watched if self._is_due(one)])
        with self._lock:  # so that what the last flow run has removed does not come back
            if not self._watched:
                self._wake.clear()
            else:
                terminal.show([] if terminal.is_taken() else rows)

    @staticmethod
    def _is_due(one: Watched) -> bool:
        return one.open_since is not None and one.waited() >= QUIET_SECONDS

    @staticmethod
    def _rows(due: list[Watched]) -> list[str]:
        width, height = terminal.size()
        if not width:
            return []
        most = max(1, min(MOST_ROWS, height // 3))
        rows = [one.row(width - 1, colours=settings.wants_colours()) for one in due[-most:]]
        if len(due) > most:
            rows.append(f"and {len(due) - most:,} more"[: width - 1])
        return [row for row in rows if row]

    def forget(self) -> None:
        """Be as new in a forked child."""
        self.__init__()  # type: ignore[misc]  # which is what this means


board: Final = Board()
os.register_at_fork(after_in_child=board.forget)
