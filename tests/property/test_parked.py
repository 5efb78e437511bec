"""Laws of parked runs: each is due once, as soon as nothing is left to wait for or one edge cannot be met."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.states import RunState, UpstreamKind
from taskyard_controlplane.domain.edges import accepts, pack_edges, split_edges
from taskyard_controlplane.owner.rules.parked import BLOCK_BITS, MOST_LANES, Parked

ENDS = [0, *(int(state) for state in RunState if state >= RunState.COMPLETED)]
UPSTREAM = [bytes([number]) * 16 for number in range(5)]
edges = st.lists(
    st.tuples(st.sampled_from(UPSTREAM), st.sampled_from([int(kind) for kind in UpstreamKind])),
    min_size=1,
    max_size=6,
)
lanes = st.sampled_from([0, 1, MOST_LANES - 1])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), lanes, edges),
        st.tuples(st.just("end"), st.sampled_from(UPSTREAM), st.sampled_from(ENDS)),
        st.tuples(st.just("take"), lanes, st.integers(1, 3)),
        st.tuples(st.just("put back"), lanes, st.integers(1, 3)),
    ),
    max_size=40,
)


class Plainly:
    """The same with a list of edges for each run."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[int, list[tuple[bytes, int]]]] = {}
        self.due: dict[int, list[int]] = {}

    def end(self, upstream_id: bytes, state: int) -> None:
        for seq, (lane, open_edges) in list(self.waiting.items()):
            told = [kind for each, kind in open_edges if each == upstream_id]
            open_edges[:] = [edge for edge in open_edges if edge[0] != upstream_id]
            if told and (not open_edges or not all(accepts(kind, state) for kind in told)):
                self.due.setdefault(lane, []).append(seq)
                del self.waiting[seq]


@given(steps)
def test_a_run_is_due_once(steps: list[tuple[str, object, object]]) -> None:
    parked, plainly, taken, seq = Parked(), Plainly(), 0, 1 << 40
    for step in steps:
        if step[0] == "add":
            seq += 1 << BLOCK_BITS - 1
            parked.add(seq, step[1], step[2])  # type: ignore[arg-type]
            plainly.waiting[seq] = (step[1], list(step[2]))  # type: ignore[assignment, call-overload]
        elif step[0] == "end":
            parked.ended(step[1], step[2])  # type: ignore[arg-type]
            plainly.end(step[1], step[2])  # type: ignore[arg-type]
        elif step[1] in parked.due:
            some = parked.take(step[1], step[2])  # type: ignore[arg-type, call-overload]
            if step[0] == "take":
                taken += len(some)
                parked.read(some)
                del plainly.due[step[1]][: len(some)]  # type: ignore[index]
            else:
                parked.put_back(step[1], some)  # type: ignore[arg-type]
        due = {lane: sorted(seqs) for lane, seqs in parked.due.items()}
        assert due == {lane: sorted(seqs) for lane, seqs in plainly.due.items() if seqs}
        left = [*plainly.waiting, *chain.from_iterable(plainly.due.values())]
        assert parked.count == len(left)
        assert parked.low_seq == (min(left) >> BLOCK_BITS << BLOCK_BITS if left else None)
    for upstream_id in UPSTREAM:
        parked.ended(upstream_id, RunState.COMPLETED)
    while parked.due:
        parked.read(parked.take(next(iter(parked.due)), 2))
    assert not parked.kept()


@given(st.lists(st.tuples(edges, st.booleans()), max_size=8))
def test_nothing_is_kept_for_runs_that_were_refused_with_what_they_waited_for(
    added: list[tuple[list[tuple[bytes, int]], bool]],
) -> None:
    parked = Parked()
    for seq, (of_run, _) in enumerate(added):
        parked.add(seq, 0, of_run)
    for upstream_id in UPSTREAM:
        parked.never_recorded(upstream_id)
    assert not parked.due
    assert not parked.kept()


@given(edges)
def test_edges_are_read_as_they_were_written(written: list[tuple[bytes, int]]) -> None:
    assert split_edges(pack_edges(written)) == written
