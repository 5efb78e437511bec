"""Clients and agents for the model of the owner: they keep and repeat what real ones keep and repeat.

Invariant: what a peer remembers is what it was told on its streams, never what the owner knows.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from support.owner_harness import Agent, Client, FakeClock, World

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import ErrorReason, StorageFull, StorageUnavailable
from taskyard_contract.states import FlowEvent, ReportKind, RunState
from taskyard_controlplane.storage.interface import StoredRun


class InlineExecutor(Executor):
    """The writer thread, without a thread: what a failing example did, it does again."""

    def __init__(self) -> None:
        self.held = False
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        if self.held:
            self._waiting.append(work)
        else:
            work()
        return future

    def release(self) -> None:
        """Do what waits, and do not let anything wait."""
        self.held, waiting, self._waiting = False, self._waiting, []
        for work in waiting:
            work()


@dataclass
class Spec:
    """A run as it was asked for."""

    upstream: list[bytes]
    cache_key: str
    flow: bytes
    max_retries: int
    delay: float = 0.0
    queue: str = ""
    priority: int = 0
    plain: bool = False
    """Whether nothing but its place in the queue decides when it starts, as with all runs of its group."""
    session: bytes = b""
    """Sessions take turns, so of two the order says nothing."""


READS = (
    "runs_by_id", "heads_by_id", "heads_by_seq", "payloads", "backlog_page", "backlog_of_session",
    "backlog_of_flow",
)  # fmt: skip


@dataclass
class Faults:
    """How the next commits fail: before or after the database took them, or for lack of room."""

    planned: list[str] = field(default_factory=list)
    reads: int = 0
    """How many of the next look-ups find no answer."""

    def clear(self) -> None:
        """Let nothing fail any more."""
        self.planned.clear()
        self.reads = 0

    def install(self, store: Any) -> None:
        """Stand between an owner and its store."""
        commit = store.commit

        def faulty(batch: Any) -> Any:
            fault = self.planned.pop(0) if self.planned else ""
            if fault == "full":
                raise StorageFull("no room", retry_after=1.0)
            if fault == "before":
                raise StorageUnavailable("it did not answer")
            result = commit(batch)
            if fault == "after":
                raise StorageUnavailable("its answer was lost")
            return result

        store.commit = faulty
        for name in READS:
            setattr(store, name, self._unreliable(getattr(store, name)))

    def _unreliable(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any) -> Any:
            if self.reads:
                self.reads -= 1
                raise StorageUnavailable("it did not answer")
            return read(*args)

        return faulty


class ModelClient:
    """A process that submits, and after a reconnect repeats what was not acknowledged."""

    def __init__(self, session_id: bytes) -> None:
        self.session_id = session_id
        self.peer: Client | None = None
        self.gone = False
        self.told: dict[bytes, int] = {}
        self.refused: dict[bytes, int] = {}
        self.durable: set[bytes] = set()
        self.flows: set[bytes] = set()
        self.unowned: set[bytes] = set()
        """Runs that it is told nothing of, once they are recorded."""
        self.decided: dict[bytes, int] = {}
        self.awaiting_retry: set[bytes] = set()
        self.resent: set[bytes] = set()
        self._unacked: list[sp.SubmitBatch] = []
        self._unanswered: list[sp.FlowReport] = []
        self._number = 0

    async def connect(self, world: World) -> None:
        """Open a stream; the first one, or one more."""
        self.peer = Client(world, self.session_id)
        resent = self.unacknowledged()
        self.resent |= resent
        for batch in self._unacked:
            again = sp.SubmitBatch()
            again.CopyFrom(batch)
            again.resend = True
            await self.send(submit=again)
        waiting = self.durable - resent - self.flows - self.unowned - self.told.keys() - self.refused.keys()
        await self.send(flow_reports=list(self._unanswered), subscribe=sorted(waiting))

    async def send(self, **fields: Any) -> None:
        """Send a frame, if there is a stream; one that finds no answer in the database ends it."""
        peer = self.peer
        if peer is None:
            return
        try:
            await peer.send(**fields)
        except StorageUnavailable:
            if self.peer is peer:
                self.disconnect()

    def unacknowledged(self) -> set[bytes]:
        """Return the runs of batches that may not be recorded."""
        return {run_id for batch in self._unacked for group in batch.groups for run_id in group.run_ids}

    def disconnect(self) -> None:
        """Lose the stream, with everything that was sent on it meanwhile."""
        if self.peer is not None:
            self.peer.receive()
            self.peer.disconnect()
            self.peer = None

    async def submit(self, group: sp.RunGroup, template: tp.RunTemplate) -> None:
        """Send a batch of one group."""
        self._number += 1
        group.template = self._number
        definition = tp.TemplateDefinition(index=self._number, template=template)
        batch = sp.SubmitBatch(number=self._number, templates=[definition], groups=[group])
        self._unacked.append(batch)
        await self.send(submit=batch)

    async def report_flow(self, flow: bytes, event: FlowEvent) -> None:
        """Propose something about a flow run."""
        report = sp.FlowReport(run_id=flow, event=int(event))  # type: ignore[arg-type]
        self._unanswered.append(report)
        self.awaiting_retry.discard(flow)
        await self.send(flow_reports=[report])

    def answered(self, flow: bytes) -> bool:
        """Whether every report about a flow run has been decided."""
        return all(report.run_id != flow for report in self._unanswered)

    def receive(self) -> None:
        """Take what was sent."""
        peer = self.peer
        if peer is None:
            return
        peer.receive()
        told = dict.fromkeys(peer.results, int(RunState.COMPLETED))
        told.update({run_id: int(outcome.state) for run_id, outcome in peer.outcomes.items()})
        for run_id, state in told.items():
            assert self.told.setdefault(run_id, state) == state, "told two different ends"
            assert run_id not in self.refused, "told an end of a run that was refused"
        for run_id, refusal in peer.refused.items():
            assert run_id not in self.told, "refused a run that was told to have ended"
            self.refused[run_id] = refusal.error.reason
        while self._unacked and self._unacked[0].number <= peer.acknowledged:
            batch = self._unacked.pop(0)
            ids = {run_id for group in batch.groups for run_id in group.run_ids}
            self.durable |= ids - self.refused.keys()
        for decision in peer.decisions:
            self._decide(decision)
        self._unanswered = [report for report in self._unanswered if report.run_id not in self.refused]
        peer.decisions.clear()

    def _decide(self, decision: sp.FlowDecision) -> None:
        for report in self._unanswered:
            if report.run_id == decision.run_id:
                self._unanswered.remove(report)
                break
        if decision.state >= RunState.COMPLETED:
            before = self.decided.setdefault(decision.run_id, int(decision.state))
            assert before == decision.state, "decided two different ends"
        elif int(decision.state) == RunState.AWAITING_RETRY:
            self.awaiting_retry.add(decision.run_id)

    def check_end(self, rows: dict[bytes, StoredRun]) -> None:
        """Compare what was told with what is recorded when everything has ended."""
        lost = self.durable - rows.keys() - self.refused.keys()
        assert not lost, f"acknowledged and not recorded: {lost}"
        for run_id, state in (self.told | self.decided).items():
            assert rows[run_id].state == state, "told something else than recorded"
        assert set(self.refused.values()) <= set(REFUSALS)
        assert not self.refused.keys() & rows.keys() - self.flows, "refused and recorded"
        if not self.gone:
            waiting = self.durable - self.told.keys() - self.refused.keys() - self.flows - self.unowned
            assert not waiting, f"never told: {waiting}"
            assert not self.unacknowledged(), "never acknowledged"


def result_of(run_id: bytes, epoch: int) -> bytes:
    """What an execution returns; every execution of a run returns something else."""
    return run_id[-4:] + epoch.to_bytes(8, "big")


class ModelAgent:
    """An agent: executes what it was assigned, and keeps its reports until they are acknowledged."""

    def __init__(self, agent_id: str, queues: tuple[str, ...]) -> None:
        self.agent_id = agent_id
        self.queues = queues
        self.peer: Agent | None = None
        self.session_id = b""
        self.working: dict[bytes, int] = {}
        self.seen: list[tuple[bytes, int]] = []
        self.draining = False
        self.acknowledged: list[tuple[bytes, int]] = []
        """Results that the owner said are durable, until somebody looks."""
        self.underway: set[bytes] = set()
        """Runs held when a stream broke: they may never have arrived, and go back unrecorded."""
        self._results: dict[int, tuple[bytes, int]] = {}
        self._clock = FakeClock()
        self._outbox: list[tuple[int, dict[str, Any]]] = []
        self._number = 0
        self._received = 0
        self._processes = 0

    def connect(self, world: World, credit: int) -> None:
        """Open a stream, restating what is held and repeating what was not acknowledged."""
        if not self.session_id:
            self._processes += 1
            self.session_id = f"{self.agent_id}-{self._processes}".encode().ljust(16)
        self._lose_stream()
        self.peer = Agent(
            world, self.agent_id, credit, 2, session_id=self.session_id, held=list(self.working.items()),
            queues=self.queues,
        )  # fmt: skip
        self._received, self._clock = 0, world.clock
        for key in self.peer.welcome.drop:
            if self.working.get(key.run_id) == key.epoch:
                del self.working[key.run_id]
        for number, fields in self._outbox:
            self.peer.send(report_number=number, **fields)

    def disconnect(self) -> None:
        """Lose the stream."""
        self._lose_stream()
        if self.peer is not None:
            self.peer.disconnect()
            self.peer = None

    def _lose_stream(self) -> None:
        if self.peer is not None:
            self.underway |= self.peer.agent.held.keys()

    def die(self) -> None:
        """End the process; the next one under this id holds nothing."""
        self.disconnect()
        self.session_id, self.working, self._outbox, self._number = b"", {}, [], 0
        self._results, self.draining = {}, False

    def drain(self) -> None:
        """Take nothing more, and end when everything is done and known to be."""
        self.draining = True
        if self.peer is not None:
            self.peer.send(draining=True)

    @property
    def done(self) -> bool:
        """Whether nothing is executed, and nothing waits to be acknowledged."""
        return not self.working and not self._outbox

    def grant(self, credit: int) -> None:
        """Take that many runs more."""
        if self.peer is not None:
            self.peer.granted += credit
            self.peer.send(credit=ap.Credit(granted_total=self.peer.granted, chunk_size=2))

    def receive(self) -> list[bytes]:
        """Take what was sent; returns newly assigned runs."""
        if self.peer is None:
            return []
        new = self.peer.receive()
        self._received += len(new)
        assert self._received <= self.peer.granted, "credit was exceeded"
        for run_id in new:
            self.working[run_id] = self.peer.assigned[run_id]
            self.seen.append((run_id, self.working[run_id]))
        for number, _ in self._outbox:
            if number <= self.peer.acknowledged and number in self._results:
                self.acknowledged.append(self._results.pop(number))
        self._outbox = [entry for entry in self._outbox if entry[0] > self.peer.acknowledged]
        return new

    def cancelled(self) -> list[bytes]:
        """Return what it was told to end and still executes."""
        return [run_id for run_id in self.working if run_id in self.peer.to_end] if self.peer else []

    def send(self, **fields: Any) -> None:
        """Report something; it is repeated until it is acknowledged."""
        self._number += 1
        self._outbox.append((self._number, fields))
        if self.peer is not None:
            self.peer.send(report_number=self._number, **fields)

    def report(self, run_id: bytes, epoch: int, **exception: Any) -> None:
        """Report how an execution ended."""
        columns = ap.ReportColumns(
            base_us=self._clock.now_us(), started_us=[0], durations_us=[5],
            results=[b"" if exception else result_of(run_id, epoch)],
            exceptions=[ap.ReportException(position=0, **exception)] if exception else [],
        )  # fmt: skip
        self.working.pop(run_id, None)
        chunk = ap.ReportChunk(first_epoch=epoch, run_ids=run_id, columns=columns.SerializeToString())
        if not exception:
            self._results[self._number + 1] = run_id, epoch
        self.send(reports=[chunk])

    def give_up(self, run_id: bytes, how: str) -> None:
        """Say that a run was lost, given back or cancelled."""
        key = ap.RunKey(run_id=run_id, epoch=self.working.pop(run_id))
        if how == "lost":
            self.send(lost=[ap.LostRun(key=key)])
        else:
            self.send(**{how: [key]})


FAILED = {"kind": int(ReportKind.FAILED)}
REFUSALS = (ErrorReason.RUN_NOT_FOUND, ErrorReason.STORAGE_FULL)


def check_queues(shard: Any) -> None:
    """Runs are queued once, and whatever could start is: for everybody, or for all but who declined it."""
    dispatcher = shard.dispatcher
    waiting = Counter(
        (each.need, run.template.priority, run.run_id)
        for queues in (dispatcher.ready, *dispatcher.declined._groups.values())
        for ready in queues.names.values()
        for each in ready
        for run in each.runs
    )
    assert all(number == 1 for number in waiting.values()), "queued twice"
    if shard.committer.idle:
        for run in shard.book.runs.values():
            places = {
                (queues.queues.get(run.template.need), run.template.priority, run.run_id)
                for queues in (dispatcher.ready, *dispatcher.declined._groups.values())
            }
            assert run.state != RunState.READY or not places.isdisjoint(waiting), "ready and in no queue"


def check_dispatches(shard: Any) -> None:
    """A dispatch is known as long as one of its runs is open."""
    entries = {id(entry): entry for entry in shard.dispatcher.log.entries}
    left = Counter(id(run.dispatch) for run in shard.book.runs.values() if run.dispatch is not None)
    assert left.keys() <= entries.keys(), "forgot a dispatch with open runs"
    assert all(entry[1] == left[key] for key, entry in entries.items())


def check_nothing_left(shard: Any) -> None:
    """Nothing is kept of what has ended."""
    assert not any(shard.kept().values()), shard.kept()
    assert not any("retry" in name for name in shard.timers.pending())
    assert shard.committer.full is shard.committer.stalled_since is None
