"""The agents' unary calls: checks them, finds their session, and says how long they may wait."""

import asyncio
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, StorageUnavailable
from taskyard_controlplane.owner.peers.peer import NOBODY, Caller
from taskyard_controlplane.owner.serving.agents import Agents
from taskyard_controlplane.rpc.polled_agent import PolledAgent

LEASE_SHARE: Final = 1 / 3
"""Longest wait as a part of the lease: two polls in a row may get lost before it lapses."""
DEADLINE_SHARE: Final = 0.8
"""Longest wait as a part of what the caller's deadline leaves: the rest is for the way back."""
RETRY_SECONDS: Final = 1.0


def longest_wait(asked: float, lease: float, remaining: float | None) -> float:
    """Return how long a call may wait, in seconds.

    Args:
        asked: What the caller asked for.
        lease: The lease that the caller has to renew in time.
        remaining: What its deadline leaves; None without one.
    """
    wait = min(asked, lease * LEASE_SHARE)
    return wait if remaining is None else min(wait, remaining * DEADLINE_SHARE)


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


class Polling:
    """Serves the unary calls of all agents that poll."""

    def __init__(self, agents: Agents) -> None:
        """Connect agents to the shard behind `agents`."""
        self._agents = agents
        self._polled: dict[bytes, PolledAgent] = {}

    async def poll(
        self, request: pb.PollRequest, remaining: float | None, caller: Caller = NOBODY
    ) -> pb.PollResponse:
        """Answer a poll; `remaining` is what the deadline of the call leaves, None without one.

        Raises:
            TaskyardError: The call is malformed, or its session unknown or superseded.
        """
        check_poll(request)
        polled = self._polled.get(request.session_id)
        if request.HasField("hello") and not (polled and polled.answers_hello(request.number)):
            polled = self._open(request, caller, polled)
        else:
            polled = self._known(request)
        polled.ask(request, longest_wait(request.wait_ms / 1000, self._agents.lease, remaining))
        return await polled.answer()

    async def report(self, request: pb.ReportBatchRequest, remaining: float | None) -> pb.ReportBatchResponse:
        """Take reports and answer when they are durable; `remaining` as in `poll`.

        Raises:
            TaskyardError: The call is malformed, its session unknown or superseded, or the database does
                not answer in time.
        """
        check_ids(request)
        if not request.report_number:
            raise InvalidRequest("a batch of reports needs a number, counting up from 1 within the session")
        polled = self._known(request)
        polled.count_report(request.report_number)
        lease = self._agents.lease
        try:
            async with asyncio.timeout(longest_wait(lease, lease, remaining)):
                await self._agents.receive_durably(polled.agent, _frame_of(request, polled.agent.last_report))
        except TimeoutError:
            text = "the reports are not durable yet, because the database does not answer; repeat the batch"
            raise StorageUnavailable(text, retry_after=RETRY_SECONDS) from None
        return pb.ReportBatchResponse(reported_up_to=polled.agent.reported_up_to)

    def _open(self, request: pb.PollRequest, caller: Caller, known: PolledAgent | None) -> PolledAgent:
        if known is not None:
            known.check_owner(request.agent_id)
            if request.number < known.number:
                raise InvalidRequest(
                    f"a hello as poll {request.number} is late: {known.number} was asked for"
                )
            known.release()  # its caller said hello again; that somebody took over would be no news
        polled = PolledAgent(self._agents, request, caller, self._forget)
        self._polled[request.session_id] = polled
        return polled

    def _known(self, request: pb.PollRequest | pb.ReportBatchRequest) -> PolledAgent:
        polled = self._polled.get(request.session_id)
        if polled is None:
            raise self._agents.why_unknown(request.agent_id, request.session_id)
        polled.check_owner(request.agent_id)
        return polled

    def _forget(self, polled: PolledAgent) -> None:
        self._polled.pop(polled.agent.session_id, None)


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
    )
