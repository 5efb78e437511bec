"""Log records of attempts in threads, on their way to the control plane.

They go where the reports go, ahead of them: of a run that has ended nothing is recorded any more, and two
streams do not wait for each other. This process has shown them itself, so the server must know whose threads
these are (`AgentHello.own_session_id`); to one that does not, they go over the session, as the flow's do.
"""

from collections import deque
from typing import Final

from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.session import Session
from taskyard_api.v1 import session_service_pb2
from taskyard_contract import log_entry
from taskyard_contract.agent_link import LinkSession
from taskyard_contract.log_entry import LogEntry

MOST_TOGETHER: Final = 1_000
"""Records in a batch; `LinkSession` cuts frames by their size."""


class AttemptLogs:
    """Takes records from any thread, and hands them to the link on the loop's."""

    def __init__(self, session: Session, link: LinkSession) -> None:
        """Hand records to `link`, or to `session` as long as they cannot go `with_reports`."""
        self._session = session
        self._link = link
        self.with_reports = False
        """Whether the server knows that they have been shown here."""
        self._waiting: deque[LogEntry] = deque()
        self._moving = False

    def add(self, entry: LogEntry) -> None:
        """Take a record."""
        if not self.with_reports:
            self._session.log(entry)
            return
        self._waiting.append(entry)
        if not self._moving:
            self._moving = True
            loop_thread.let_know(self.move)

    def move(self) -> None:
        """Hand on what waits: also before each report, on the loop's thread."""
        self._moving = False  # first: what comes from here on is moved now, or next time
        while self._waiting:
            batch = session_service_pb2.LogBatch()
            for _ in range(min(len(self._waiting), MOST_TOGETHER)):
                log_entry.add_to(batch, self._waiting.popleft())
            self._link.log(batch)
