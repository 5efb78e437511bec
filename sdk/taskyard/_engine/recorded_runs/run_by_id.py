"""A run by its id: what is recorded of it, its end, its log.

Invariant: looking at a run has no consequence for it, and needs nothing of the program that owns it. A run in
a worker that waits here lets another one have its place, as when it waits for a future.
"""

import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from taskyard._data.runs.recorded import RunLogs
from taskyard._data.values.awaited import AwaitedRun
from taskyard._engine.futures.waiting import wait_async, wait_blocking
from taskyard._engine.submission.futures_by_id import WORDS, id_of
from taskyard._engine.submission.scope import current_scope, outside_scope
from taskyard._network.server.run_watch import RunWatch
from taskyard.context import current_context
from taskyard.exceptions import FlowRunWaitTimeout, RunNotFound, TaskyardError
from taskyard.logging import configure
from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_api.v1.session_service_pb2 import LogBatch
from taskyard_contract.encodings import decode_payload
from taskyard_contract.states import FIRST_FINAL, RunKind, shown_as


class RunById:
    """A run that somebody has submitted, at the control plane that calls from here go to."""

    def __init__(self, run_id: UUID | str, kind: RunKind) -> None:
        """Mean a run; nothing is asked yet.

        Args:
            run_id: Its id, or the text of that.
            kind: What it has to be.

        Raises:
            ValueError: The text is no id.
        """
        self._id = id_of(run_id)
        self._kind = kind
        self._scope = current_scope() or outside_scope()

    def read(self) -> run_service_pb2.Run:
        """Read what is recorded of it now, with its result.

        Raises:
            RunNotFound: There is no such run of this kind.
        """
        run = self._scope.session.client().get_run(self._id.bytes, include_result=True)
        if int(run.kind) != self._kind:
            other = WORDS[RunKind(run.kind)]
            raise RunNotFound(f"{self} does not exist: it is a {other} run, see taskyard.{other}_runs")
        return run

    def decode(self, payload: common_pb2.Payload) -> Any:
        """Return the value of a payload of the run, which may be a blob."""
        return decode_payload(payload, self._scope.fetch)

    def wait(
        self, timeout: float | None, *, log_states: bool = False, with_log: bool = False
    ) -> run_service_pb2.Run:
        """Wait until it has ended and read it.

        Args:
            timeout: Longest time to wait, in seconds; None waits as long as it takes.
            log_states: Whether to log the states it is in.
            with_log: Whether to show its log as it grows.

        Raises:
            TimeoutError: It did not end in time; of a flow run it is a `FlowRunWaitTimeout`.
            RunNotFound: There is no such run of this kind.
            ValueError: The code that waits belongs to the run.
        """
        run = self._begin(with_log)
        if run is not None:
            return run
        awaited = AwaitedRun(self._id.bytes, self._scope)
        with self._watch(awaited, log_states, with_log):
            in_time = wait_blocking(awaited, timeout)
        return self._ended(awaited, in_time, timeout)

    async def wait_async(
        self, timeout: float | None, *, log_states: bool = False, with_log: bool = False
    ) -> run_service_pb2.Run:
        """Wait like `wait`, without blocking the event loop."""
        import asyncio

        run = await asyncio.to_thread(self._begin, with_log)
        if run is not None:
            return run
        awaited = AwaitedRun(self._id.bytes, self._scope)
        with self._watch(awaited, log_states, with_log):
            in_time = await wait_async(awaited, timeout)
        return await asyncio.to_thread(self._ended, awaited, in_time, timeout)

    def logs(self, *, follow: bool) -> RunLogs:
        """Return the records of its log that exist now; following it, all until it is complete."""
        return RunLogs(self._followed_log() if follow else self._log())

    def _log(self) -> Iterator[tuple[LogBatch, int]]:
        client, run_id, token = self._scope.session.client(), self._id.bytes, ""
        while True:
            page = client.list_run_logs(run_id, token)
            yield page.logs, page.removed_before_us
            if not page.logs.messages:
                return
            token = page.next_page_token

    def _followed_log(self) -> Iterator[tuple[LogBatch, int]]:
        for message in self._scope.session.client().tail_run_logs(self._id.bytes):
            yield message.logs, message.removed_before_us

    def _begin(self, with_log: bool) -> run_service_pb2.Run | None:
        """Return the run if there is nothing to wait for."""
        context = current_context()
        if context is not None and self._id in (context.run.id, context.flow_run_id):
            raise ValueError(f"{self} would wait for itself: this code belongs to it")
        run = self.read()
        return run if run.state >= FIRST_FINAL and not with_log else None

    def _watch(self, awaited: AwaitedRun, log_states: bool, with_log: bool) -> RunWatch:
        configure()
        told = _StateLog(WORDS[self._kind]) if log_states else None
        return RunWatch(self._scope.session.client(), awaited, told, with_log=with_log)

    def _ended(self, awaited: AwaitedRun, in_time: bool, timeout: float | None) -> run_service_pb2.Run:
        if not in_time:
            kind = FlowRunWaitTimeout if self._kind == RunKind.FLOW else TimeoutError
            raise kind(f"{self} did not end within {timeout} seconds")
        if isinstance(awaited.outcome, TaskyardError):
            raise awaited.outcome
        return self.read()

    def __str__(self) -> str:
        """Name it for people."""
        return f"{WORDS[self._kind]} run {self._id}"


class _StateLog:
    """Logs each state of a run once."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._logger = logging.getLogger(f"taskyard.{word}_runs")
        self._last = ""

    def __call__(self, run: run_service_pb2.Run) -> None:
        _, state = shown_as(run.state, run.reason, run.state_name, run.attempt)
        if state != self._last:
            self._last = state
            self._logger.info("%s run '%s' is %s", self._word, run.name, state)
