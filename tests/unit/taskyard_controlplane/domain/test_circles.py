"""Which edges close circles among runs that wait for each other."""

from hypothesis import given
from hypothesis import strategies as st

from taskyard_controlplane.domain.circles import closing_edges

RUNS = [bytes([number]) for number in range(8)]
GRAPHS = st.dictionaries(st.sampled_from(RUNS), st.lists(st.sampled_from(RUNS), max_size=4))
Graph = dict[bytes, list[bytes]]


def reached(graph: Graph, start: bytes) -> set[bytes]:
    """Return what a run waits for, through others or not."""
    found = set[bytes]()
    ahead = list(graph.get(start, ()))
    while ahead:
        run_id = ahead.pop()
        if run_id not in found:
            found.add(run_id)
            ahead += graph.get(run_id, ())
    return found


@given(GRAPHS)
def test_each_edge_found_is_in_a_circle_and_without_them_there_is_none(graph: Graph) -> None:
    closing = closing_edges(graph)
    assert all(run_id in {upstream_id, *reached(graph, upstream_id)} for run_id, upstream_id in closing)
    rest = {
        run_id: [each for each in others if (run_id, each) not in closing] for run_id, others in graph.items()
    }
    assert not any(run_id in reached(rest, run_id) for run_id in rest)


def test_long_chains_need_no_stack() -> None:
    length = 50_000
    ids = [number.to_bytes(4, "big") for number in range(length)]
    chain = {run_id: [further] for run_id, further in zip(ids, ids[1:] + ids[:1], strict=True)}
    assert closing_edges(chain) == [(ids[-1], ids[0])]
