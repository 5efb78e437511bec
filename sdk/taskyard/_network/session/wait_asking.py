"""Says why a program waits: asks the server beside the session's stream, and writes lines into the log.

One task on the loop's thread for each session. It looks twice a second whether somebody waits in vain
(`wait_watch`), so nothing is paid for where runs are submitted and awaited. While there is no connection it
is silent: the stream says that. A server that does not know the call is not asked again over that connection.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from taskyard._data.runs.records import FlowRun
from taskyard._data.values.waits import unfinished
from taskyard._network.session.in_flight import InFlight
from taskyard._network.session.wait_lines import WaitLine, lines_of
from taskyard._network.session.wait_watch import LOOK_SECONDS, Waiting, WaitWatch, sample
from taskyard.context import RunContext
from taskyard.logging import get_run_logger, show_from_here
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub

ANSWER_SECONDS: Final = 5.0
"""A server that takes longer has something better to do."""

Channel = Callable[[], grpc.aio.Channel | None]


class WaitAsking:
    """Tells the program of one session why it waits, until the session ends."""

    def __init__(
        self,
        in_flight: InFlight,
        channel: Channel,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Watch what a session has in flight.

        Args:
            in_flight: Its runs.
            channel: Returns what its stream is open on, None while it is not.
            clock: Returns seconds that never jump.
            sleep: Lets seconds pass.
        """
        self._in_flight = in_flight
        self._channel = channel
        self._clock = clock
        self._sleep = sleep
        self._watch = WaitWatch()
        self._unable: grpc.aio.Channel | None = None
        """Whose server does not know the call."""

    async def run(self) -> None:
        """Go on until the session is over, or this is cancelled."""
        while self._in_flight.fatal is None:
            await self._sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception:  # a handler of the program's log, say; runs must not suffer from it
                traceback.print_exc()

    async def _look(self) -> None:
        channel = self._channel()
        if channel is None:
            self._watch.disturbed()
        elif self._watch.look(self._clock(), self._in_flight.news) and channel is not self._unable:
            own = self._in_flight.unended
            waiting = {run_id: context for run_id, context in unfinished().items() if own(run_id) is not None}
            if waiting:
                self._watch.asked(self._clock())
                await self._ask(channel, waiting)

    async def _ask(self, channel: grpc.aio.Channel, waiting: Waiting) -> None:
        asked = sample(waiting)
        try:
            stub: Any = RunServiceStub(channel)
            answer = await stub.Explain(pb.ExplainRequest(run_ids=asked), timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._unable = channel
            return  # whatever else it is: the stream meets it, too
        except (asyncio.CancelledError, grpc.aio.UsageError, asyncio.InvalidStateError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return  # the channel was closed meanwhile
        if self._watch.still_quiet(self._in_flight.news):
            self._tell(asked, answer.explanations, waiting)

    def _tell(self, asked: Sequence[bytes], answers: Sequence[pb.Explanation], waiting: Waiting) -> None:
        """Tell what is new; in a worker, to those that wait for the runs in it."""
        now = self._clock()
        context = waiting[asked[0]]
        for line in lines_of(answers, len(waiting)):
            if not self._watch.is_news(line.key, now, line.is_said):
                continue
            if self._in_flight.caller_run_id and isinstance(context, RunContext):
                get_run_logger(context).log(line.level, "%s", _inside(line))
            else:
                _show(line, context)


def _show(line: WaitLine, context: object) -> None:
    if line.name:
        show_from_here(line.name, line.level, line.text)
        return
    run = context.run if isinstance(context, RunContext) else None
    flow = "" if run is None else run.name if isinstance(run, FlowRun) else run.flow_run_name
    show_from_here(flow, line.level, line.text, flow=bool(flow))


def _inside(line: WaitLine) -> str:
    """Return what the run says that waits in a worker."""
    return f"task run '{line.name}' {line.text}" if line.name else line.text
