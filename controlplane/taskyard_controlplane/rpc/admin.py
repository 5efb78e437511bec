"""AdminService: what operators see and do."""
# The contract names the methods, and says what they promise.

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from itertools import islice
from typing import Any, Final

from taskyard_api.v1 import admin_service_pb2 as pb
from taskyard_api.v1 import admin_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.frame_limits import check_name
from taskyard_controlplane.owner.rules.cancelling import Wish
from taskyard_controlplane.owner.serving.announcements import limits_of, owned_here
from taskyard_controlplane.reading import page_tokens
from taskyard_controlplane.reading.page_tokens import Listing
from taskyard_controlplane.reading.pages import first_page, first_page_of
from taskyard_controlplane.reading.tokens import scope_of
from taskyard_controlplane.rpc import retention
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.task_listing import TaskListing
from taskyard_controlplane.settings import RpcSettings

USUAL_PAGE: Final = 100  # what somebody looks through
MOST_SHOWN: Final = 100  # queues, and labels, of one agent


class AdminService(admin_service_pb2_grpc.AdminServiceServicer):
    """Implements the service over the owner."""

    def __init__(self, directory: Directory, settings: RpcSettings, dialect: str, started_us: int) -> None:
        """Describe a server with a database of some dialect, started at some time."""
        self._directory = directory
        self._settings = settings
        self._dialect = dialect
        self._started_us = started_us

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.GetServerInfoResponse:
        owner = self._directory.owner()
        return pb.GetServerInfoResponse(
            version=VERSION,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            database=self._dialect,
            started_us=self._started_us,
            open_runs=owner.open_count(),
            backlog_runs=owner.backlog_count(),
            agents=len(owner.agents),
            sessions=len(owner.sessions),
            generation=owner.generation,
            limits=limits_of(owner.terms),
            owners=owned_here(),
        )

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Any) -> pb.ListAgentsResponse:
        start = page_tokens.decode(Listing.AGENTS, request.page_token) or 0
        limit = page_tokens.page_size(request.page_size, USUAL_PAGE, self._settings.max_page_size)
        agents = sorted(
            self._directory.owner().agents, key=lambda agent: (int(agent.state), agent.name, agent.agent_id)
        )
        page = first_page([_message(agent) for agent in agents[start : start + limit]], limit)
        end = start + len(page)
        token = page_tokens.encode(Listing.AGENTS, end) if end < len(agents) else ""
        return pb.ListAgentsResponse(agents=page, next_page_token=token)

    async def ListTasks(self, request: pb.ListTasksRequest, context: Any) -> pb.ListTasksResponse:
        scope = scope_of(check_name("queue", request.queue).encode())
        start = page_tokens.decode(Listing.TASKS, request.page_token, scope) or 0
        limit = page_tokens.page_size(request.page_size, USUAL_PAGE, self._settings.max_page_size)
        listing = TaskListing(self._directory.owner().agents, request.queue)
        page = first_page_of(listing.tasks(start), limit)
        end = start + len(page)
        token = page_tokens.encode(Listing.TASKS, end, scope) if end < len(listing) else ""
        return pb.ListTasksResponse(tasks=page, next_page_token=token)

    async def DrainAgent(self, request: pb.DrainAgentRequest, context: Any) -> pb.DrainAgentResponse:
        if not request.agent_id:
            raise InvalidRequest("agent_id is empty; ListAgents shows the ids", field="agent_id")
        wish = Wish.of(check_name("requested_by", request.requested_by), request.reason)
        return pb.DrainAgentResponse(held_runs=self._directory.owner().drain_agent(request.agent_id, wish))

    async def Prune(self, request: pb.PruneRequest, context: Any) -> AsyncIterator[pb.PruneResponse]:
        async with aclosing(retention.prune(self._directory.owner().retention, request)) as answers:
            async for answer in answers:
                yield answer

    async def GetStorage(self, request: pb.GetStorageRequest, context: Any) -> pb.GetStorageResponse:
        return await retention.storage(self._directory.owner().retention)


def _message(agent: AgentSession) -> pb.Agent:
    return pb.Agent(
        agent_id=agent.agent_id,
        name=bounded(agent.name, NAME_LIMIT),
        state=agent.state,  # type: ignore[arg-type]  # the enums are equal
        queues=_first_texts(agent.queues),
        slots=agent.slots,
        held_runs=len(agent.held),
        connected_us=agent.connected_us,
        last_seen_us=agent.last_seen_us,
        version=bounded(agent.version, NAME_LIMIT),
        labels=_first_labels(agent.labels),
        condition=agent.condition,
        memory_used_bytes=agent.memory[0],
        memory_total_bytes=agent.memory[1],
        capabilities=_first_texts(agent.capabilities),
    )


def _first_texts(texts: Iterable[str]) -> list[str]:
    return [bounded(text, NAME_LIMIT) for text in islice(texts, MOST_SHOWN)]


def _first_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the first labels of an agent: one that invents ten thousand must not hide the others."""
    return {
        bounded(name, NAME_LIMIT): bounded(value, NAME_LIMIT)
        for name, value in islice(labels.items(), MOST_SHOWN)
    }
