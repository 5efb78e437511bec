"""Laws of feeding agents: nobody gets what he cannot execute, nothing is lost, and nothing waits in vain."""

from collections import Counter
from itertools import count

from hypothesis import assume, given
from hypothesis import strategies as st

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.capabilities import CODE_BY_NAME, CODE_BY_REFERENCE, CODE_BY_VALUE
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.matching import matches
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking

CODES = ["", CODE_BY_VALUE, CODE_BY_REFERENCE, CODE_BY_NAME]
ENCODINGS = ["", "json/plain", "pickle/test"]
QUEUES = ["a", "b"]

_numbers = count(1)
templates = st.builds(
    lambda queue, priority, code, encoding, labels, served_as: Template(
        next(_numbers),
        b"",
        b"",
        queue=queue,
        priority=priority,
        code=code,
        encoding=encoding,
        labels=labels,
        served_as=served_as,
    ),
    st.sampled_from(QUEUES),
    st.integers(-1, 1),
    st.sampled_from(CODES),
    st.sampled_from(ENCODINGS),
    st.sampled_from([frozenset(), frozenset(), frozenset({("gpu", "a100")}), frozenset({("gpu", "h100")})]),
    st.sampled_from(["", "", "jobs:send", "jobs:other"]),
)
hellos = st.builds(
    lambda queues, capabilities, labels, serves: pb.AgentHello(
        agent_id="a", queues=queues, capabilities=capabilities, labels=labels, serves=serves
    ),
    st.lists(st.sampled_from(QUEUES), min_size=1, unique=True),
    st.lists(st.sampled_from([*CODES[1:], *ENCODINGS[1:]]), unique=True),
    st.sampled_from([{}, {"gpu": "a100"}]),
    st.sampled_from([[], [], ["jobs:send"]]),
)
callers = st.sampled_from([b"", b"", b"p" * 16, b"q" * 16])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5), callers),
        st.tuples(st.just("end"), st.integers(0, 99), st.just(b"")),
        st.tuples(st.just("pop"), st.integers(0, 9), callers),
        st.tuples(st.just("tidy"), st.integers(0, 3), st.just(b"")),
    ),
    max_size=60,
)


class Everybody:
    """Agents, runs, and who got what."""

    def __init__(self, kinds: list[Template], agents: list[AgentSession]) -> None:
        self.matchmaking = Matchmaking()
        self.kinds, self.agents = kinds, agents
        self.runs: list[Run] = []
        self.taken: list[Run] = []
        for agent in agents:
            self.matchmaking.serve(agent)

    def add(self, number: int, caller_id: bytes) -> None:
        seq = len(self.runs)
        template = self.kinds[number % len(self.kinds)]
        run = Run(seq, seq.to_bytes(16, "big"), template, RunState.READY, None, None, None, 0, 0)
        run.caller_id = caller_id or None
        self.runs.append(run)
        run.queued = True
        self.matchmaking.append(run)

    def end(self, number: int, _: bytes) -> None:
        """Cancel a run where it stands."""
        if self.runs:
            run = self.runs[number % len(self.runs)]
            self.matchmaking.ended += run.queued
            restore(run, RunState.CANCELLED)

    def tidy(self, number: int, _: bytes) -> None:
        """Drop what has ended, and the queues that are empty if there are more than `number`."""
        self.matchmaking._many = number
        self.matchmaking.tidy()

    def pop(self, number: int, nested: bytes) -> list[Run]:
        agent = self.agents[number % len(self.agents)]
        agent.nested_only = bool(nested)
        got = self.matchmaking.pop(agent, 1 + number % 3)
        for run in got:
            assert run.state == RunState.READY
            assert matches(run.template.need, agent.offer)
            assert run.waited_for_by or not nested
            restore(run, RunState.ASSIGNED)
        assert len({id(run.template) for run in got}) <= 1, "a chunk is of one template"
        self.taken += got
        return got


@given(st.lists(templates, min_size=1, max_size=6), st.lists(hellos, min_size=1, max_size=3), steps)
def test_whatever_happens_everything_goes_once_to_somebody_who_can_execute_it(
    kinds: list[Template], greetings: list[pb.AgentHello], history: list[tuple[str, int, bytes]]
) -> None:
    it = Everybody(kinds, [AgentSession(hello, 0.0, 0) for hello in greetings])
    for name, number, caller_id in history:
        getattr(it, name)(number, caller_id)
    while any(it.pop(number, b"") for number in range(len(it.agents) * 3)):
        pass
    assert max(Counter(map(id, it.taken)).values(), default=1) == 1, "given out once"
    for run in it.runs:
        if run.state == RunState.READY:
            assert not any(matches(run.template.need, agent.offer) for agent in it.agents), "left waiting"


@given(st.lists(templates, min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=30))
def test_who_can_do_everything_takes_runs_as_if_they_stood_in_one_queue(
    kinds: list[Template], numbers: list[int]
) -> None:
    kinds = [kind for kind in kinds if ("gpu", "h100") not in kind.need.labels]
    assume(kinds)
    hello = pb.AgentHello(agent_id="a", queues=QUEUES, labels={"gpu": "a100"})
    it = Everybody(kinds, [AgentSession(hello, 0.0, 0)])
    for number in numbers:
        it.add(number, b"")
    while it.pop(0, b""):  # one at a time
        pass
    expected = sorted(it.runs, key=lambda run: (run.template.queue, run.template.priority, run.seq))
    assert [run.seq for run in it.taken] == [run.seq for run in expected]


new_runs = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 2),
        callers,
        st.sampled_from([RunState.READY] * 3 + [RunState.CANCELLED]),
    ),
    max_size=30,
)


@given(st.lists(templates, min_size=3, max_size=3), new_runs)
def test_many_new_runs_take_the_places_that_each_would_take_alone(
    kinds: list[Template], described: list[tuple[int, int, bytes, RunState]]
) -> None:
    sessions = [None, ClientSession(b"s" * 16, "s", b"", 0.0), ClientSession(b"t" * 16, "t", b"p" * 16, 0.0)]

    def made() -> list[Run]:
        runs = []
        for seq, (kind, session, caller_id, state) in enumerate(described):
            run = Run(seq, bytes(16), kinds[kind], state, None, sessions[session], None, 0, 0)
            run.caller_id = caller_id or None
            run.queued = seq % 7 == 6  # read back, and in its queue, while its row was looked for
            runs.append(run)
        return runs

    together, alone = Matchmaking(), Matchmaking()
    runs = made()
    others = together.append_new(runs)
    for run in made():
        if run.state == RunState.READY and not run.queued:
            run.queued = True
            alone.append(run)
    assert [run.seq for run in others] == [run.seq for run in runs if run.state != RunState.READY]
    assert [run.seq for run in together.remaining()] == [run.seq for run in alone.remaining()]
