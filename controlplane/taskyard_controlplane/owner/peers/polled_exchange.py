"""What a stream is to other agents, for one that polls: a machine without I/O, clock or asyncio.

An agent that polls sends numbered requests, one after the other, and each gets one response. Requests and
responses may get lost, and a proxy may deliver a request twice, so the machine rests on three rules:

- Numbers count up by one. The newest may be repeated as often as its caller likes, any other is out of turn.
- The response to the newest number is kept until the next is asked for: a lost response loses no run. Asking
  for the next number says that the last response has arrived; asking while the last one still waits says that
  nobody waits for it any more, so it is answered with nothing.
- Work is assigned only while a poll waits. So credit is given when a wait begins and taken back when it
  ends: `granted` is what was delivered plus what this poll asks for, then what was delivered. An agent that
  leaves in silence takes no runs along that others could have executed meanwhile.

Phases:

    ANSWERED   the newest number has its response
    WAITING    it has none, because there is nothing to say yet
    LEAVING    it has none, because the agent drains and is not rid of everything yet
    OVER       the agent has left, or somebody else has taken its place

A hello begins a session, as the request of some number, and is answered at once: ANSWERED. Whoever serves
the calls hands requests in, looks for something to say when the agent was woken, ends waits that take too
long, and sends what `take_answers` returns.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, TaskyardError, UnknownSession
from taskyard_contract.ids import ID_BYTES
from taskyard_controlplane.owner.peers.agent_session import AgentSession

MAX_RUNS: Final = 1_000
"""Most runs asked for at once: what waits to be executed here could be executed by others."""


def said_with(request: pb.PollRequest) -> pb.AgentFrame:
    """Return what an agent says of itself with a poll, as a frame of its stream would."""
    memory = request.memory if request.HasField("memory") else None
    return pb.AgentFrame(draining=request.draining, memory=memory)


class PollPhase(Enum):
    """Where the newest poll of an agent is."""

    ANSWERED = auto()
    WAITING = auto()
    LEAVING = auto()
    OVER = auto()


class Answer(NamedTuple):
    """How a poll ends, for all calls that carry its number."""

    number: int
    outcome: pb.PollResponse | TaskyardError


class PolledExchange:
    """One session of an agent that polls, from its hello on."""

    def __init__(self, agent: AgentSession, number: int) -> None:
        """Begin with the hello that came under `number`; `welcome` answers it."""
        self.agent = agent
        self.number = number
        self.phase = PollPhase.WAITING
        self._hello = number
        self._delivered = 0  # runs in all responses so far
        self._last_report = 0
        self._answers: list[Answer] = []
        self._error: TaskyardError | None = None

    @property
    def waits(self) -> bool:
        """Whether the newest poll has no response yet."""
        return self.phase in (PollPhase.WAITING, PollPhase.LEAVING)

    def take_answers(self) -> list[Answer]:
        """Return the answers that were made since the last time, in order."""
        answers, self._answers = self._answers, []
        return answers

    def welcome(self, welcome: pb.AgentWelcome) -> None:
        """Answer the hello, along with what there is to say already."""
        response = self._something_to_say() or pb.PollResponse()
        response.welcome.CopyFrom(welcome)
        self._respond(response, PollPhase.ANSWERED)

    def answers_hello(self, number: int) -> bool:
        """Whether a hello under this number repeats the one that began the session."""
        return number == self.number == self._hello

    def check_agent(self, agent_id: str) -> None:
        """Check whose session it is.

        Raises:
            InvalidRequest: It belongs to another agent.
        """
        if agent_id != self.agent.agent_id:
            raise InvalidRequest(f"the session belongs to another agent than '{agent_id}'")

    def check_hello(self, agent_id: str, number: int) -> None:
        """Check a hello that is about to replace this session.

        Raises:
            InvalidRequest: It comes from another agent, or late: a newer number was asked for.
        """
        self.check_agent(agent_id)
        if number < self.number:
            raise InvalidRequest(f"a hello as poll {number} is late: {self.number} was asked for")

    def ask(self, request: pb.PollRequest) -> pb.AgentFrame:
        """Begin to wait for something to say, join the wait under the same number, or ask once more.

        Returns:
            What the agent says with it, as its frame on a stream would.

        Raises:
            InvalidRequest: A newer number was asked for before.
            UnknownSession: Numbers before it have not arrived.
            TaskyardError: The session is over, and why.
        """
        if self.phase is PollPhase.OVER:
            raise self._error or UnknownSession("the agent has left; say hello again")
        if request.number == self.number + 1:
            self.release()
            self.number, self.phase = request.number, PollPhase.WAITING
        elif request.number > self.number:
            # The hello may be an old one, which arrived late at a server that did not know the session.
            raise UnknownSession(
                f"poll {request.number} is out of turn: {self.number + 1} has not arrived; say hello again"
            )
        elif request.number < self.number:
            raise InvalidRequest(
                f"poll {request.number} is out of turn: {self.number} was asked for, and can be repeated"
            )
        frame = said_with(request)
        if self.waits:  # a repeat may ask for more, for less, or to leave
            self.phase = PollPhase.LEAVING if request.draining else PollPhase.WAITING
            frame.credit.granted_total = self._delivered + min(request.max_runs, MAX_RUNS)
            frame.credit.chunk_size = request.chunk_size
            frame.credit.nested_only = request.nested_only
        return frame

    def look(self) -> None:
        """Answer the poll that waits, if there is something to say."""
        if not self.waits:
            return
        response = self._something_to_say()
        if self.phase is PollPhase.LEAVING and self.agent.settled:
            response = response or pb.PollResponse()
            response.drained = True
            self._respond(response, PollPhase.OVER)
        elif response is not None:
            self._respond(response, PollPhase.ANSWERED)

    def release(self) -> None:
        """End the wait, if there is one, with an empty response."""
        if self.waits:
            self._respond(pb.PollResponse(), PollPhase.ANSWERED)

    def close(self, error: TaskyardError) -> None:
        """End the session: whoever waits is told, and whoever calls later."""
        if self.waits:
            self._end(error, PollPhase.OVER)
        self.phase, self._error = PollPhase.OVER, error

    def count_report(self, number: int) -> None:
        """Note the number of a batch of reports.

        Raises:
            UnknownSession: An earlier one is missing, and would count as acknowledged with this one.
        """
        # The first one after a hello may be a late repetition: so what came before the hello counts as well.
        last = max(self._last_report, self.agent.last_report)
        if self._last_report and number > last + 1:
            raise UnknownSession(
                f"batch {number} is out of turn: {last + 1} has not arrived; "
                "say hello, and repeat what was not acknowledged"
            )
        self._last_report = max(self._last_report, number)

    def _something_to_say(self) -> pb.PollResponse | None:
        frame = self.agent.next_frame()
        # Acknowledgements are in the answers to reports, and are no reason to end a wait.
        if frame is None or not (
            frame.templates
            or frame.chunks
            or frame.cancel
            or frame.drain
            or frame.reconnect_after_ms
            or frame.ended_worlds
        ):
            return None
        return pb.PollResponse(
            templates=frame.templates,
            chunks=frame.chunks,
            cancel=frame.cancel,
            drain=frame.drain,
            reconnect_after_ms=frame.reconnect_after_ms,
            ended_worlds=frame.ended_worlds,
        )

    def _respond(self, response: pb.PollResponse, phase: PollPhase) -> None:
        response.reported_up_to = self.agent.reported_up_to
        self._delivered += sum(len(chunk.run_ids) // ID_BYTES for chunk in response.chunks)
        self._end(response, phase)

    def _end(self, outcome: pb.PollResponse | TaskyardError, phase: PollPhase) -> None:
        self.phase = phase
        self.agent.granted = self._delivered  # what is in no response yet counts against the next poll
        self._answers.append(Answer(self.number, outcome))
