"""An agent that polls: what a stream is to other agents, kept between one poll and the next.

Invariants: a response is kept until the next number is asked for, so that a lost one loses no run; runs are
assigned only while a poll waits for them, so that an agent that leaves in silence takes none along.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_contract.ids import ID_BYTES
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.owner.serving.agents import Agents

MAX_RUNS: Final = 1_000
"""Most runs asked for at once: what waits to be executed here could be executed by others."""


class PolledAgent:
    """The session of an agent that polls, from one hello to the next."""

    def __init__(
        self,
        agents: Agents,
        request: pb.PollRequest,
        caller: Caller,
        forget: Callable[["PolledAgent"], None],
    ) -> None:
        """Open the session that `request` says hello for; `forget` is called when it is over.

        Raises:
            TaskyardError: The hello is refused.
        """
        self._agents = agents
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[pb.PollResponse | TaskyardError] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._looking = self._leaving = False
        self._delivered = self._last_report = 0
        self._hello = self.number = request.number
        # Made once: the owner tells connections apart by the identity of these.
        self.wake: Callable[[], None] = self._wake
        self.close: Callable[[TaskyardError], None] = self._close
        self.agent, welcome = agents.open(request.hello, caller, self.wake, self.close)
        agents.receive(self.agent, pb.AgentFrame(draining=request.draining))
        response = self._take() or pb.PollResponse()
        response.welcome.CopyFrom(welcome)
        self._say(response)

    def check_owner(self, agent_id: str) -> None:
        """Check whose session it is.

        Raises:
            InvalidRequest: It belongs to another agent.
        """
        if agent_id != self.agent.agent_id:
            raise InvalidRequest(f"the session belongs to another agent than '{agent_id}'")

    def answers_hello(self, number: int) -> bool:
        """Whether a hello under this number repeats the one that opened the session."""
        return number == self.number == self._hello

    def ask(self, request: pb.PollRequest, seconds: float) -> None:
        """Begin to wait for what there is to say, or join the wait if the number is the same.

        Raises:
            InvalidRequest: The number is out of turn.
        """
        if request.number == self.number + 1:
            self.release()
            self.number, self._answer = request.number, self._loop.create_future()
        elif request.number != self.number:
            raise InvalidRequest(
                f"poll {request.number} is out of turn: after {self.number} comes {self.number + 1}, "
                f"and only {self.number} can be repeated"
            )
        frame = pb.AgentFrame(draining=request.draining)
        if not self._answer.done():
            self._leaving = request.draining
            frame.credit.granted_total = self._delivered + min(request.max_runs, MAX_RUNS)
            frame.credit.chunk_size = request.chunk_size
            frame.credit.nested_only = request.nested_only
            self._wait(seconds)
        self._agents.receive(self.agent, frame)
        self.wake()

    async def answer(self) -> pb.PollResponse:
        """Return the response to the last number asked for, once there is one.

        Raises:
            TaskyardError: The session is over.
        """
        answer = await asyncio.shield(self._answer)  # others may wait for it, or ask for it again
        if isinstance(answer, TaskyardError):
            raise answer
        return answer

    def release(self) -> None:
        """End the poll that waits, if there is one, with an empty response."""
        if not self._answer.done():
            self._say(pb.PollResponse())

    def count_report(self, number: int) -> None:
        """Note the number of a batch of reports.

        Raises:
            InvalidRequest: An earlier one is missing, and would count as acknowledged with this one.
        """
        if self._last_report and number > self._last_report + 1:
            raise InvalidRequest(f"batch {number} is out of turn: {self._last_report + 1} has not arrived")
        self._last_report = max(self._last_report, number)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._look()
        self.release()

    def _wake(self) -> None:
        # Later, because what is assigned in one go belongs into one response.
        if not self._looking and not self._answer.done():
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Answer the poll that waits if there is something to say."""
        self._looking = False
        if self._answer.done():
            return
        response = self._take()
        if self._leaving and self.agent.settled:
            response = response or pb.PollResponse()
            response.drained = True
            self._forget(self)
            self._agents.disconnected(self.agent, self.wake)
        if response is not None:
            self._say(response)

    def _take(self) -> pb.PollResponse | None:
        frame = self.agent.next_frame()
        # Acknowledgements are in the answers to reports, and are no reason to end a wait.
        if frame is None or not (
            frame.templates or frame.chunks or frame.cancel or frame.drain or frame.reconnect_after_ms
        ):
            return None
        return pb.PollResponse(
            templates=frame.templates,
            chunks=frame.chunks,
            cancel=frame.cancel,
            drain=frame.drain,
            reconnect_after_ms=frame.reconnect_after_ms,
        )

    def _say(self, response: pb.PollResponse) -> None:
        response.reported_up_to = self.agent.reported_up_to
        self._delivered += sum(len(chunk.run_ids) // ID_BYTES for chunk in response.chunks)
        self._end(response)

    def _end(self, answer: pb.PollResponse | TaskyardError) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.agent.granted = self._delivered
        self._answer.set_result(answer)

    def _close(self, error: TaskyardError) -> None:
        self._forget(self)
        if not self._answer.done():
            self._end(error)
