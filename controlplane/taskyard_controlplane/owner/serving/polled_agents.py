"""Agents without a stream: their calls are handed to the exchange each has, and wait for its answers.

The protocol is `peers.polled_exchange`; here are what it has none of: futures for the calls that wait,
timers that end them, and the book of sessions. What a poll waits for comes from the owner, so all of it is
on its loop.
"""

import asyncio
from collections.abc import Callable

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_controlplane.owner.peers.peer import NOBODY, Caller
from taskyard_controlplane.owner.peers.polled_exchange import PolledExchange, PollPhase, said_with
from taskyard_controlplane.owner.serving.agents import Agents

Outcome = pb.PollResponse | TaskyardError


class PolledAgent:
    """An agent that polls, from one hello to the next."""

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
        self._calls: dict[int, asyncio.Future[Outcome]] = {}
        self._callers = 0  # who waits for an answer
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Handle | None = None
        # Made once: the owner tells connections apart by the identity of these.
        self.wake: Callable[[], None] = self._wake
        self.close: Callable[[TaskyardError], None] = self._close
        request.hello.ClearField("coroutines")  # polls ask for runs of all kinds together
        agent, welcome = agents.open(request.hello, caller, self.wake, self.close)
        self.exchange = PolledExchange(agent, request.number)
        agents.receive(agent, said_with(request))
        self.exchange.welcome(welcome)
        self._deliver()

    async def ask(self, request: pb.PollRequest, seconds: float) -> pb.PollResponse:
        """Return the response to a poll, which comes after `seconds` at the latest.

        Raises:
            InvalidRequest: The number is out of turn.
            TaskyardError: The session is over.
        """
        frame = self.exchange.ask(request)
        self.exchange.agent.away = False
        self._deliver()
        call = self._call(request.number)
        if self.exchange.waits:
            self._end_wait_after(seconds)
        self._agents.receive(self.exchange.agent, frame)
        self.wake()
        outcome = await self._wait(call)
        if isinstance(outcome, TaskyardError):
            raise outcome
        return outcome

    async def _wait(self, call: "asyncio.Future[Outcome]") -> Outcome:
        """Return an answer; others may wait for it as well, or ask for it again."""
        agent = self.exchange.agent
        self._callers += 1
        try:
            return await asyncio.shield(call)
        finally:
            self._callers -= 1
            if not call.done() and not self._callers:
                agent.away = True  # to come back or not

    def release(self) -> None:
        """End the poll that waits, if there is one, with an empty response."""
        self.exchange.release()
        self._deliver()

    def _call(self, number: int) -> "asyncio.Future[Outcome]":
        """Return what calls with this number wait for; the newest number's is kept for who asks again."""
        call = self._calls.get(number)
        if call is None:
            call = self._loop.create_future()
            self._calls = {number: call}
        return call

    def _deliver(self) -> None:
        for number, outcome in self.exchange.take_answers():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._call(number).set_result(outcome)

    def _end_wait_after(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return  # a repeat may shorten the wait, not make it longer
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._look_now()
        self.release()

    def _wake(self) -> None:
        # Later, because what is assigned in one go belongs into one response.
        if self._look is None:
            self._look = self._loop.call_soon(self._look_now)

    def _look_now(self) -> None:
        self._look = None
        waited = self.exchange.waits
        self.exchange.look()
        if waited and self.exchange.phase is PollPhase.OVER:  # it has left
            self._forget(self)
            self._agents.disconnected(self.exchange.agent, self.wake)
        self._deliver()

    def _close(self, error: TaskyardError) -> None:
        self._forget(self)
        self.exchange.close(error)
        self._deliver()


class PolledAgents:
    """All agents of a shard that poll."""

    def __init__(self, agents: Agents) -> None:
        """Open the sessions of those who poll through `agents`, as streams do."""
        self._agents = agents
        self._by_session: dict[bytes, PolledAgent] = {}

    def __len__(self) -> int:
        """Return how many sessions there are."""
        return len(self._by_session)

    @property
    def lease(self) -> float:
        """For how long the silence of an agent is tolerated, in seconds."""
        return self._agents.lease

    @property
    def most_wait(self) -> float:
        """For how long a poll may wait, in seconds, whatever it asks for."""
        return self._agents.most_wait

    async def poll(self, request: pb.PollRequest, seconds: float, caller: Caller = NOBODY) -> pb.PollResponse:
        """Answer a poll, after `seconds` at the latest.

        Raises:
            TaskyardError: The call is malformed, or its session unknown or superseded.
        """
        check_poll(request)
        polled = self._by_session.get(request.session_id)
        if request.HasField("hello") and not (polled and polled.exchange.answers_hello(request.number)):
            polled = self._open(request, caller, polled)
        else:
            polled = self._known(request)
        return await polled.ask(request, seconds)

    async def report(self, request: pb.ReportBatchRequest) -> pb.ReportBatchResponse:
        """Apply reports and answer when they are durable.

        Raises:
            TaskyardError: The call is malformed, or its session unknown or superseded.
        """
        check_ids(request)
        if not request.report_number:
            raise InvalidRequest("a batch of reports needs a number, counting up from 1 within the session")
        exchange = self._known(request).exchange
        exchange.count_report(request.report_number)
        agent = exchange.agent
        await self._agents.receive_durably(agent, _frame_of(request, agent.last_report))
        return pb.ReportBatchResponse(reported_up_to=agent.reported_up_to)

    def _open(self, request: pb.PollRequest, caller: Caller, known: PolledAgent | None) -> PolledAgent:
        if known is not None:
            known.exchange.check_hello(request.agent_id, request.number)
            known.release()  # its caller said hello again; that somebody took over would be no news
        polled = PolledAgent(self._agents, request, caller, self._forget)
        self._by_session[request.session_id] = polled
        return polled

    def _known(self, request: pb.PollRequest | pb.ReportBatchRequest) -> PolledAgent:
        polled = self._by_session.get(request.session_id)
        if polled is None:
            raise self._agents.why_unknown(request.agent_id, request.session_id)
        polled.exchange.check_agent(request.agent_id)
        return polled

    def _forget(self, polled: PolledAgent) -> None:
        session_id = polled.exchange.agent.session_id
        if self._by_session.get(session_id) is polled:
            del self._by_session[session_id]


def check_poll(request: pb.PollRequest) -> None:
    """Check what can be checked without knowing the session.

    Raises:
        InvalidRequest: An id or the number is missing, or ids or sizes contradict each other.
    """
    check_ids(request)
    if not request.number:
        raise InvalidRequest("a poll needs a number, counting up from 1 within the session")
    if request.HasField("hello"):
        hello = request.hello
        if (hello.agent_id, hello.session_id) != (request.agent_id, request.session_id):
            raise InvalidRequest("the agent id and the session id of a poll must be those of its hello")
    elif request.max_runs and not request.chunk_size:
        raise InvalidRequest("chunk_size is 0; whoever takes runs takes at least 1 in a chunk")


def check_ids(request: pb.PollRequest | pb.ReportBatchRequest) -> None:
    """Check that a call says whose it is.

    Raises:
        InvalidRequest: It does not.
    """
    if not request.agent_id or not request.session_id:
        raise InvalidRequest("a call of an agent needs its agent id and its session id")


def _frame_of(request: pb.ReportBatchRequest, last: int) -> pb.AgentFrame:
    # A batch that comes late repeats what is known; acknowledging it must not take back what came after it.
    return pb.AgentFrame(
        report_number=max(request.report_number, last),
        reports=request.reports,
        started=request.started,
        given_back=request.given_back,
        lost=request.lost,
        cancelled=request.cancelled,
        logs=request.logs if request.HasField("logs") else None,
        progress=request.progress,
        output=request.output if request.HasField("output") else None,
    )
