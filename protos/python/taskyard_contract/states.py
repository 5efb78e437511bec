"""The states of runs as Python enums, and how users see them.

Pure. The members are numerically equal to ``states.proto`` (a test proves it), so that hot code can
use plain ints from the wire, and this is the one place that maps a state to what users are shown.
"""

from enum import Enum, IntEnum
from typing import Final


class RunKind(IntEnum):
    """Whose code a run executes, a task's or a flow's: they have different lives, so a state machine each."""

    TASK = 1
    FLOW = 2


class RunState(IntEnum):
    """The state of a run; values from 100 on are final."""

    PENDING = 1
    READY = 2
    ASSIGNED = 3
    RUNNING = 4
    AWAITING_RETRY = 5
    AWAITING_CACHE = 6
    CANCELLING = 7
    COMPLETED = 100
    FAILED = 101
    CANCELLED = 102
    CRASHED = 103
    NOT_READY = 104


class StateReason(IntEnum):
    """Why a run is in its state, where the state alone does not say it."""

    NONE = 0
    CACHED = 1
    TIMED_OUT = 2
    WORKER_DIED = 3
    AGENT_LOST = 4
    UPSTREAM = 5
    SESSION_LOST = 6
    CANCEL_REQUESTED = 7
    CODE_UNAVAILABLE = 8
    INTERRUPTED = 9
    GIVEN_BACK = 10
    STATE_BY_HAND = 11
    RESULT_REFUSED = 12
    WAITING_REFUSED = 13
    AGENT_DISK_FULL = 14


_REASONS = frozenset(map(int, StateReason))


def known_reason(number: int) -> int:
    """Return a reason that somebody sent, NONE for a number that this release does not know."""
    return number if number in _REASONS else StateReason.NONE


class WaitReason(IntEnum):
    """Why a run is not executed yet."""

    UPSTREAM = 1
    RETRY_DELAY = 2
    CACHE_LEADER = 3
    PROGRAM_AWAY = 4
    NO_AGENT = 5
    NO_AGENT_FOR_QUEUE = 6
    NO_AGENT_LOADS_CODE = 7
    NO_AGENT_KNOWS_ENCODING = 8
    NO_AGENT_HAS_LABELS = 9
    NO_AGENT_HAS_TASK = 10
    NO_AGENT_HAS_PYTHON = 11
    NO_AGENT_HAS_ENVIRONMENT = 12
    AGENT_CONDITION = 13
    AGENT_DRAINING = 14
    AGENT_AWAY = 15
    AGENT_NESTED_ONLY = 16
    AGENT_DECLINED = 17
    QUEUED = 18
    SLOTS_TAKEN = 19
    BACKLOG = 20
    AGENT_HAS_IT = 21
    DELIVERY = 22
    DATABASE = 23
    PROGRAM_STARTS = 24
    OVERLOADED = 25
    CANCELLING = 26
    RUNS_INSIDE = 27
    TURN = 28


class UpstreamKind(IntEnum):
    """What an upstream run is to a downstream run."""

    DATA = 1
    ORDER = 2
    DATA_OR_FAILURE = 3
    ORDER_OR_FAILURE = 4
    NOT_COMPLETED = 5
    IF_SUBMITTED = 6
    RESULT = 7
    FLOW_RESULT = 8


class ReportKind(IntEnum):
    """What happened to a run, as its worker saw it."""

    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    INTERRUPTED = 4
    CACHE_KEY = 5


class FlowEvent(IntEnum):
    """What happened to a flow run, as the process that executes it saw it."""

    STARTED = 1
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4
    INTERRUPTED = 5


class Executor(IntEnum):
    """Who executes the runs of a template, whatever they are."""

    SESSION = 1
    """The session that submitted them: it starts them when it likes and reports about them."""
    AGENT = 2
    """An agent: they queue up, are assigned under an epoch, and that agent reports about them."""


class AgentState(IntEnum):
    """What an agent is doing."""

    ONLINE = 1
    DRAINING = 2
    DISCONNECTED = 3
    OFFLINE = 4


class OutputStream(IntEnum):
    """Where a run writes to."""

    STDOUT = 1
    STDERR = 2
    LOGGER = 3


class StateType(str, Enum):
    """The nine types by which users' code decides (Prefect 3's vocabulary)."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


FIRST_FINAL: Final = 100
"""Every state from here on is final. A plain int: hot code compares with it."""

_SHOWN: Final[dict[RunState, tuple[StateType, str]]] = {
    RunState.PENDING: (StateType.PENDING, "Pending"),
    RunState.READY: (StateType.PENDING, "Pending"),
    RunState.ASSIGNED: (StateType.PENDING, "Submitting"),
    RunState.RUNNING: (StateType.RUNNING, "Running"),
    RunState.AWAITING_RETRY: (StateType.SCHEDULED, "AwaitingRetry"),
    RunState.AWAITING_CACHE: (StateType.PENDING, "AwaitingCache"),
    RunState.CANCELLING: (StateType.CANCELLING, "Cancelling"),
    RunState.COMPLETED: (StateType.COMPLETED, "Completed"),
    RunState.FAILED: (StateType.FAILED, "Failed"),
    RunState.CANCELLED: (StateType.CANCELLED, "Cancelled"),
    RunState.CRASHED: (StateType.CRASHED, "Crashed"),
    RunState.NOT_READY: (StateType.PENDING, "NotReady"),
}


def shown_as(state: int, reason: int = 0, name: str = "", attempt: int = 1) -> tuple[StateType, str]:
    """Say which type and name users see for a state.

    Args:
        state: A `RunState`.
        reason: A `StateReason`.
        name: The name user code gave to the state; wins over the usual one.
        attempt: Number of the attempt, from 1; a later one shows RUNNING as "Retrying".

    Raises:
        ValueError: `state` is none of `RunState`.
    """
    state_type, usual = _SHOWN[RunState(state)]
    if name:
        return state_type, name
    if state == RunState.COMPLETED and reason == StateReason.CACHED:
        return state_type, "Cached"
    if state == RunState.FAILED and reason == StateReason.TIMED_OUT:
        return state_type, "TimedOut"
    if state == RunState.RUNNING and attempt > 1:
        return state_type, "Retrying"
    return state_type, usual
