"""A run that is watched from outside, until it has ended: by its id, whoever submitted it.

What this process submitted is settled by its session. Here nothing belongs to anybody: a watch has no
consequence for the run, and needs nothing of the program that owns it. Where more follow runs than a server
takes, it is asked again and again instead: that is dearer, and later by nothing.
"""

import asyncio
import traceback
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from contextlib import aclosing
from typing import Final

from taskyard._data.values.awaited import AwaitedRun
from taskyard._network.server.calls import Client
from taskyard._network.server.loop_thread import loop_thread
from taskyard.logging import show_said
from taskyard_api.v1 import run_service_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Overloaded, RunNotFound, TaskyardError
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL

ASK_SECONDS: Final = 20.0
"""How long one question waits for the end of a run."""
Told = Callable[[run_service_pb2.Run], object]
"""Is called with a run as it is now, on the loop thread."""


class RunWatch:
    """Settles an awaited run once it has ended. A context manager: the watch ends with the block."""

    def __init__(
        self, client: Client, awaited: AwaitedRun, told: Told | None = None, *, with_log: bool = False
    ) -> None:
        """Prepare a watch.

        Args:
            client: Calls of the run's control plane.
            awaited: Is settled by how the run ended, or by why nobody can say.
            told: Hears of each of its states.
            with_log: Whether to show its log meanwhile; it is whole before the run is settled.
        """
        self._client = client
        self._awaited = awaited
        self._told = told
        self._with_log = with_log
        self._work: ThreadFuture[None] | None = None

    def __enter__(self) -> "RunWatch":
        self._work = asyncio.run_coroutine_threadsafe(self._watch(), loop_thread.loop())
        return self

    def __exit__(self, *_: object) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _watch(self) -> None:
        try:
            outcome: pb.RunOutcome | TaskyardError = await self._followed()
        except TaskyardError as error:
            outcome = error
        except Exception as defect:  # whoever waits must not wait for ever
            outcome = TaskyardError(f"watching a run broke down ({type(defect).__name__}: {defect})")
            outcome.__cause__ = defect
        self._awaited.settle(outcome)

    async def _followed(self) -> pb.RunOutcome:
        log = asyncio.ensure_future(self._show_log()) if self._with_log else None
        try:
            try:
                outcome = await self._follow_states()
            except Overloaded:
                outcome = await self._ask_for_states()
            if log is not None:
                await log
            return outcome
        finally:
            if log is not None:
                log.cancel()

    async def _follow_states(self) -> pb.RunOutcome:
        run_id, found = self._awaited.run_id, False
        async with aclosing(
            self._client.watch_runs_async(run_service_pb2.RunFilter(run_ids=[run_id]))
        ) as messages:
            async for message in messages:
                for run in message.runs:
                    found = True
                    self._tell(run)
                    if run.state >= FIRST_FINAL:
                        return pb.RunOutcome(run_id=run_id, state=run.state)
                if message.caught_up and not found:
                    break
        raise RunNotFound(f"there is no run {format_id(run_id)} any more", run_id=run_id)

    async def _ask_for_states(self) -> pb.RunOutcome:
        run_id = self._awaited.run_id
        while True:
            run = await self._client.wait_run_async(run_id, ASK_SECONDS)
            self._tell(run)
            if run.state >= FIRST_FINAL:
                return pb.RunOutcome(run_id=run_id, state=run.state)

    def _tell(self, run: run_service_pb2.Run) -> None:
        if self._told is None:
            return
        try:
            self._told(run)
        except Exception:  # a handler of the program; it must not keep anybody from what they wait for
            traceback.print_exc()

    async def _show_log(self) -> None:
        shown = False
        while True:
            try:
                async with aclosing(self._client.tail_run_logs_async(self._awaited.run_id)) as messages:
                    async for message in messages:
                        shown = True
                        show_said(message.logs, None)
                return
            except Overloaded as error:
                if shown:
                    raise  # from the beginning it would be shown twice
                await asyncio.sleep(error.retry_after or 1.0)


class ResultWatch(RunWatch):
    """The same for who wants the result: the awaited run is settled with it, or with its failure."""

    def __init__(self, client: Client, awaited: AwaitedRun, own: AwaitedRun | None = None) -> None:
        """Prepare a watch.

        Args:
            client: Calls of the run's control plane.
            awaited: Is settled by how the run ended.
            own: The same run as one of this process, whose session hears of its end.
        """
        super().__init__(client, awaited)
        self._own = own

    async def _followed(self) -> pb.RunOutcome:
        if self._own is None:
            await super()._followed()
        else:
            await self._until_told(self._own)
        return outcome_of(await self._client.get_result_async(self._awaited.run_id))

    async def _until_told(self, own: AwaitedRun) -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(told.set)

        own.when_settled(tell)
        try:
            await told.wait()
        finally:
            own.forget(tell)


def outcome_of(run: run_service_pb2.Run) -> pb.RunOutcome:
    """Return how a run ended whose record was read with its result, as sessions are told it."""
    return pb.RunOutcome(
        run_id=run.run_id,
        state=run.state,
        reason=run.reason,
        state_name=run.state_name,
        message=run.message,
        result=run.result if run.HasField("result") else None,
        failure=run.failure if run.HasField("failure") else None,
        ended_us=run.ended_us,
        run_name=run.name,
        attempt=run.attempt,
    )
