"""Laws of turns, at the server and in agents: nothing is lost, order is kept, all get their shares."""

from collections import defaultdict
from itertools import count

from hypothesis import example, given
from hypothesis import strategies as st

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.queue import LEAST_SECONDS, TURN_SECONDS, SpanQueue
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.turns import QUANTUM_MS, cost_of

SESSIONS = [None, *(ClientSession(bytes([number]) * 16, "s", b"", 0.0) for number in range(1, 4))]
MANY = 300
milliseconds = st.sampled_from([0.0, 0.002, 0.5, 5.0, 30.0, 200.0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), st.integers(-1, 1), st.integers(1, 40), milliseconds),
        st.tuples(st.just("take"), st.integers(1, 300), st.just(0), st.just(0), st.just(0.0)),
        st.tuples(st.just("end"), st.integers(0, 999), st.just(0), st.just(0), st.just(0.0)),
    ),
    max_size=50,
)


class Served:
    """Ready runs of several sessions, and the one agent that executes them."""

    def __init__(self) -> None:
        self.matchmaking = Matchmaking()
        self.agent = AgentSession(pb.AgentHello(agent_id="a", queues=["default"]), 0.0, 0)
        self.matchmaking.serve(self.agent)
        self.runs: list[Run] = []
        self.started: list[Run] = []
        self._templates = count(1)

    def put(self, session: int, priority: int, number: int, ms: float) -> None:
        template = Template(next(self._templates), b"", b"", priority=priority)
        template.mean_ms = ms
        for _ in range(number):
            seq = len(self.runs)
            run = Run(
                seq, seq.to_bytes(16, "big"), template, RunState.READY, None, SESSIONS[session], None, 0, 0
            )
            run.queued = True
            self.runs.append(run)
            self.matchmaking.append(run)

    def pop(self, limit: int) -> list[Run]:
        got = self.matchmaking.pop(self.agent, limit)
        for run in got:
            restore(run, RunState.ASSIGNED)
        return got

    def take(self, limit: int, *_: object) -> list[Run]:
        """Take runs, and look at all that wait."""
        ready = [run.template.priority for run in self.runs if run.state == RunState.READY]
        got = self.matchmaking.pop(self.agent, limit)
        assert bool(got) is bool(ready)
        assert len(got) <= limit
        for run in got:
            assert run.template.priority == min(ready), "the most urgent first, whoever has it"
            assert run.session is got[0].session
            restore(run, RunState.ASSIGNED)
        self.started += got
        return got

    def end(self, number: int, *_: object) -> None:
        waiting = [run for run in self.runs if run.state == RunState.READY]
        if waiting:
            restore(waiting[number % len(waiting)], RunState.CANCELLED)


@given(steps)
def test_each_ready_run_starts_once_and_those_of_a_session_in_their_order(
    history: list[tuple[str, int, int, int, float]],
) -> None:
    it = Served()
    for name, *arguments in history:
        getattr(it, name)(*arguments)
    while it.take(7):
        pass
    assert len({run.seq for run in it.started}) == len(it.started)
    assert {run.seq for run in it.started} == {run.seq for run in it.runs if run.state == RunState.ASSIGNED}
    assert not any(run.state == RunState.READY for run in it.runs)
    for session in SESSIONS:
        for priority in (-1, 0, 1):
            seqs = [
                run.seq for run in it.started if run.session is session and run.template.priority == priority
            ]
            assert seqs == sorted(seqs)
    assert not it.matchmaking.names["default"].sessions(0), "nothing is kept of who has nothing"


@given(
    st.lists(milliseconds, min_size=2, max_size=4),
    st.lists(st.integers(1, 256), min_size=1, max_size=8),
    st.integers(1, 60),
)
@example(lengths=[30.0, 200.0], limits=[1], chunks=39)
def test_who_always_has_work_gets_a_share_of_the_time(
    lengths: list[float], limits: list[int], chunks: int
) -> None:
    it = Served()
    for session, ms in enumerate(lengths):
        it.put(session, 0, MANY, ms)
    used = dict.fromkeys(map(id, SESSIONS[: len(lengths)]), 0.0)
    costs = [cost_of(run.template) for run in it.runs[::MANY]]
    for number in range(chunks):
        got = it.pop(limits[number % len(limits)])
        used[id(got[0].session)] += len(got) * cost_of(got[0].template)
        if any(run.state == RunState.ASSIGNED for run in it.runs[MANY - 1 :: MANY]):
            break  # one has nothing left
        # The bound of deficit round robin: a turn more for one, and a run that was too long for both.
        assert max(used.values()) - min(used.values()) <= QUANTUM_MS + 2 * max(costs) + 1e-6


@given(st.lists(milliseconds, min_size=1, max_size=3), st.integers(0, 40), st.integers(1, 256))
def test_a_run_of_a_session_that_comes_waits_for_a_turn_of_each_other(
    lengths: list[float], before: int, limit: int
) -> None:
    it = Served()
    for session, ms in enumerate(lengths):
        it.put(session, 0, MANY, ms)
    for _ in range(before):
        it.pop(limit)
    it.put(3, 0, 1, 0.0)
    waited = 0.0
    while (got := it.pop(limit))[0].session is not SESSIONS[3]:
        waited += len(got) * cost_of(got[0].template)
    turns = sum(QUANTUM_MS + cost_of(run.template) for run in it.runs[: MANY * len(lengths) : MANY])
    assert waited <= turns + 1e-6


class Held:
    """Spans of several sessions in the hands of an agent."""

    def __init__(self) -> None:
        self.queue = SpanQueue()
        self.in_queue: set[int] = set()
        self.given: list[Span] = []
        self._epochs = count()

    def add(self, share: int, runs: int, seconds: float, nested: bool) -> None:
        template = LocalTemplate(share, template_pb2.TemplateDefinition())
        template.took(1, seconds)
        epochs = [next(self._epochs) for _ in range(runs)]
        ids = b"".join(epoch.to_bytes(16, "big") for epoch in epochs)
        self.queue.add(Chunk(template, epochs[0], ids, b"", nested=nested, share=share).whole())
        self.in_queue.update(epochs)

    def give(self, limit: int, fails: int, *_: object) -> None:
        span = self.queue.pop(limit)
        assert (span is None) is not bool(self.in_queue)
        if span is None:
            return
        if fails % 3 == 0:
            self.queue.put_back([span])  # no worker can have it now
            return
        self.queue.spent(span)
        self.given.append(span)
        self.in_queue -= epochs_of([span])

    def back(self, number: int, *_: object) -> None:
        """Have a worker hand in again what it has not started."""
        if self.given:
            span = self.given.pop(number % len(self.given))
            self.queue.put_back([span])
            self.in_queue |= epochs_of([span])

    def last(self, number: int, *_: object) -> None:
        taken = epochs_of(self.queue.pop_last(number))
        assert len(taken) <= number
        self.in_queue -= taken

    def remove(self, number: int, *_: object) -> None:
        if self.in_queue:
            epoch = sorted(self.in_queue)[number % len(self.in_queue)]
            found = self.queue.remove(pb.RunKey(run_id=epoch.to_bytes(16, "big"), epoch=epoch))
            assert found is not None
            assert epochs_of([found]) == {epoch}
            self.in_queue.discard(epoch)


def epochs_of(spans: list[Span]) -> set[int]:
    return {key.epoch for span in spans for key in span.run_keys()}


seconds = st.sampled_from([1e-6, 1e-3, 0.03, 0.2, 60.0])
moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(1, 20), seconds, st.booleans()),
        *(
            st.tuples(st.just(name), st.integers(1, 99), st.integers(0, 9), st.just(0.0), st.just(False))
            for name in ("give", "give", "back", "last", "remove")
        ),
    ),
    max_size=60,
)


@given(moves)
def test_every_run_an_agent_holds_is_in_one_place(
    history: list[tuple[str, int, int, float, bool]],
) -> None:
    it = Held()
    for name, *arguments in history:
        getattr(it, name)(*arguments)
        assert it.queue.runs == len(it.in_queue) == sum(map(len, it.queue))
        assert epochs_of(list(it.queue)) == it.in_queue
    while it.queue.runs:
        it.give(5, 1)
    assert not it.in_queue


@given(st.lists(seconds, min_size=2, max_size=4), st.lists(st.integers(1, 256), min_size=1, max_size=60))
def test_an_agent_gives_out_equal_shares_of_the_time(lengths: list[float], limits: list[int]) -> None:
    it = Held()
    for share, each in enumerate(lengths):
        it.add(share, 10 * MANY, each, nested=share % 2 == 0)
    used: dict[int, float] = defaultdict(float, dict.fromkeys(range(len(lengths)), 0.0))
    for limit in limits:
        it.give(limit, 1)
        chunk = it.given[-1].chunk
        used[chunk.share] += len(it.given[-1]) * max(chunk.template.seconds, LEAST_SECONDS)
        if it.given[-1].stop == len(chunk):
            break
        most = max(lengths) * 1.01 + 256 * LEAST_SECONDS
        assert max(used.values()) - min(used.values()) <= TURN_SECONDS + 2 * most
