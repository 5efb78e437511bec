"""Records of runs and templates, and what a run needs of those who submitted and who hold it.

A record belongs to its shard. Only `machine` changes `state`, `attempt`, `infra_retries` and `strikes`; the
owner fills in the data that came with an accepted event. Slots and plain ints, because a hundred thousand of
them live at the same time and each is made and dropped within milliseconds.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from taskyard_contract.errors import TaskyardError
from taskyard_contract.states import FIRST_FINAL, Executor, RunKind, RunState
from taskyard_controlplane.domain.matching import Labels, Need
from taskyard_controlplane.domain.memory import INPUT_OVERHEAD, LARGE_INPUTS, Input, Kept, ManyInputs

BARE_ENCODING: Final = "python/pickle5"
"""The encoding of results that travel as bare bytes; others are labelled (`owner.rules.labels`)."""
BUFFERS_ENCODING: Final = "python/pickle5+buffers"
"""That of large results of the same programs: a blob, which whoever reads bare results reads as well."""
HELD: Final = (int(RunState.ASSIGNED), int(RunState.RUNNING), int(RunState.CANCELLING))
"""The states in which an agent has the run in hand."""
SESSION: Final = int(Executor.SESSION)
AGENT: Final = int(Executor.AGENT)
MEAN_MEMORY: Final = 16
"""Runs after which the next ones count as much for the mean duration as all that came before."""
LEAST_MEAN_MS: Final = 0.001
"""Added to each duration, so that a mean that is known is never 0."""


def executor_of(kind: int) -> int:
    """Return who executes runs of a kind.

    Derived as long as flow runs are executed by sessions only; whoever asks who executes asks this.
    """
    return SESSION if kind == RunKind.FLOW else AGENT


class Submitter(Protocol):
    """The session a run belongs to, as far as its run knows it."""

    session_id: bytes
    share: int
    """The number under which its runs take turns with those of other sessions; never 0."""
    caller_run_id: bytes
    """The task run it was opened in; empty for none."""
    says_ends: bool
    """Whether it says itself how runs ended of which it gets the outcomes."""
    executing: "dict[bytes, Run]"
    """Runs whose bodies this session itself executes."""
    held_bytes: int
    """Payload of its open runs that is counted and in memory."""

    @property
    def wake(self) -> Callable[[], None]:
        """Makes it send what there is to say."""

    def push_result(self, run_id: bytes, result: bytes | None, outcome: bytes | None) -> None:
        """Tell it how a run ended."""

    def push_log(self, record: tuple[bytes, int, int, str, str, str]) -> None:
        """Show it what a run wrote: run id, time, level, logger, message, run name."""

    def push_output(self, piece: tuple[bytes, int, int, bytes, str]) -> None:
        """Show it what a run printed: run id, time, stream, bytes, run name."""

    def request_cancel(self, flow_run_id: bytes) -> None:
        """Ask it to end the body of a run that it executes."""

    def refuse(self, run_id: bytes, error: TaskyardError) -> None:
        """Tell it that a run was not accepted."""


class AgentIdentity(NamedTuple):
    """An agent as it is remembered by the runs it had: one object for all of them."""

    agent_id: str
    number: int | None = None
    """Under which its name is recorded; None when nobody recorded it."""


class Holder(Protocol):
    """The agent that executes a run, or has it in hand, as far as its run knows it."""

    name: str
    agent_id: str
    identity: AgentIdentity
    held: "dict[bytes, Run]"

    def cancel(self, run: "Run") -> None:
        """Tell it to end a run."""


class Template:
    """Everything that the runs of one task have in common."""

    __slots__ = (
        "__weakref__",
        "bare",
        "cache_expiration_us",
        "code",
        "code_digest",
        "definition",
        "delays",
        "digest",
        "encoding",
        "executor",
        "jitter",
        "kind",
        "max_infra_retries",
        "max_retries",
        "mean_ms",
        "name",
        "need",
        "priority",
        "queue",
        "refresh_cache",
        "refusal",
        "result_encoding",
        "template_id",
    )

    def __init__(
        self,
        template_id: int,
        digest: bytes,
        definition: bytes,
        *,
        kind: int = RunKind.TASK,
        name: str = "",
        queue: str = "default",
        priority: int = 0,
        encoding: str = "",
        result_encoding: str = "",
        code: str = "",
        task_name: str = "",
        python_version: str = "",
        environment: str = "",
        code_digest: bytes = b"",
        labels: Labels = frozenset(),
        world: tuple[bytes, int] | None = None,
        coroutine: bool = False,
        served_as: str = "",
        max_retries: int = 0,
        delays: tuple[float, ...] = (),
        jitter: float = 0.0,
        max_infra_retries: int = 3,
        cache_expiration_us: int = 0,
        refresh_cache: bool = False,
    ) -> None:
        """Describe a task; `definition` is the serialised message these fields were read from."""
        self.template_id = template_id
        self.digest = digest
        self.definition = definition
        self.kind = kind
        self.executor = executor_of(kind)
        self.name = name
        self.queue = queue
        self.priority = priority
        self.encoding = encoding
        self.result_encoding = result_encoding or encoding
        self.bare = self.result_encoding == BARE_ENCODING
        self.code = code
        self.need = Need(
            queue, code, encoding, labels, self.result_encoding, task_name, python_version, environment,
            world, coroutine, served_as,
        )  # fmt: skip
        self.code_digest = code_digest
        self.max_retries = max_retries
        self.delays, self.jitter = delays, jitter
        self.max_infra_retries = max_infra_retries
        self.cache_expiration_us = cache_expiration_us
        self.refresh_cache = refresh_cache
        self.mean_ms = 0.0  # how long its runs take, of late; 0 as long as none has ended
        self.refusal: TaskyardError | None = None
        """Why nothing of it is executed, if there is a reason."""

    def took(self, runs: int, busy_us: int) -> None:
        """Take in how long some of its runs took together."""
        each = busy_us / runs / 1_000 + LEAST_MEAN_MS
        mean = self.mean_ms
        self.mean_ms = mean + (each - mean) * runs / (runs + MEAN_MEMORY) if mean else each


class Run:
    """The live record of one open run. No cycles that outlive the run: downstream lists are dropped."""

    __slots__ = (
        "absent_bytes",
        "agent",
        "args",
        "args_blob",
        "attempt",
        "cache_decided",
        "cache_key",
        "caller_id",
        "declined_by",
        "dispatch",
        "downstream",
        "ended_us",
        "epoch",
        "flow",
        "headers",
        "held_bytes",
        "infra_retries",
        "input_bytes",
        "inputs",
        "last_agent",
        "message",
        "name",
        "needed_by",
        "ordinal",
        "outcome",
        "owned",
        "queued",
        "reason",
        "result",
        "run_id",
        "seq",
        "session",
        "started_us",
        "state",
        "strikes",
        "submitted_us",
        "template",
        "upstream",
        "upstream_left",
    )

    def __init__(
        self,
        seq: int,
        run_id: bytes,
        template: Template,
        state: int,
        flow: "Run | None",
        session: Submitter | None,
        args: bytes | None,
        ordinal: int,
        submitted_us: int,
        epoch: int = 0,
    ) -> None:
        """Make the record of a run that was just submitted, which begins with an epoch of its owner."""
        self.seq = seq
        self.run_id = run_id
        self.template = template
        self.state = state
        self.flow = flow
        self.session = session
        # Whoever subscribes to a run without a session becomes its session, and may go without ending it.
        self.owned = session is not None
        self.args: Kept = args
        self.ordinal = ordinal
        self.submitted_us = submitted_us
        self.reason = 0
        self.epoch = epoch
        self.attempt = 1
        self.infra_retries = 0
        self.strikes = 0
        self.upstream_left = 0
        self.started_us: int | None = None
        self.ended_us = 0
        self.agent: Holder | None = None
        # Of the agent that had it last, or to which an earlier owner has recorded to have assigned it.
        self.last_agent: AgentIdentity | None = None
        self.declined_by: Holder | None = None  # until it is queued again
        self.dispatch: list[int] | None = None
        self.queued = False
        self.name: str | None = None
        self.message = ""
        self.caller_id: bytes | None = None
        self.needed_by: bytes | None = None  # as if it had been submitted from that run
        self.args_blob: bytes | None = None
        self.headers: bytes | None = None  # as its worker gets them; runs of one group share them
        self.cache_key: str | None = None
        self.cache_decided = False
        self.upstream: bytes | None = None
        # Flat, run and kind of edge in turn: a pair for each edge would be as large as all else about it.
        self.downstream: list[Run | int] | None = None
        self.inputs: list[Input] | ManyInputs | None = None
        # How much of its arguments and inputs is in memory and counted, and how much only in the database.
        self.held_bytes = 0
        self.absent_bytes = 0
        # All of its inputs, wherever they are.
        self.input_bytes = 0
        self.result: bytes | None = None
        self.outcome: bytes | None = None

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state >= FIRST_FINAL

    @property
    def has_large_inputs(self) -> bool:
        """Whether its inputs are too large for a frame, or for memory, or too many."""
        inputs = self.inputs
        return (
            inputs is not None and self.input_bytes + INPUT_OVERHEAD * len(inputs) > LARGE_INPUTS
        ) or isinstance(inputs, ManyInputs)

    @property
    def waited_for_by(self) -> bytes:
        """The id of the task run that waits for it: from which it was submitted, or one that has submitted a
        run which cannot go on without it. Empty for none.
        """
        if self.caller_id or self.needed_by:
            return self.caller_id or self.needed_by or b""
        session = self.session
        return self.submitted_from if session is not None and session.caller_run_id else b""

    @property
    def submitted_from(self) -> bytes:
        """The id of the task run from which it, or the flow run it is in, was submitted. Empty for none."""
        session, flow = self.session, self.flow
        if self.caller_id or session is None or not session.caller_run_id:
            return self.caller_id or b""
        # A worker's session outlives the run that has opened it: what has a flow run there says so itself.
        return flow.submitted_from if flow is not None and flow.session is session else session.caller_run_id

    @property
    def shown_name(self) -> str:
        """Its own name, else its task's or flow's with a number: 'load-3'."""
        return self.name or f"{self.template.name}-{self.ordinal}"
