"""Edges between the runs of the model of the owner: drawn as clients may draw them, and what they promise.

Invariant: nothing here knows how the owner keeps them. What a run may have seen of its upstream runs follows
from what was recorded when somebody looked.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from support.owner_model import Spec

from taskyard_contract.states import FIRST_FINAL, RunState, UpstreamKind
from taskyard_controlplane.domain.edges import accepts
from taskyard_controlplane.storage.interface import StoredRun

IF_SUBMITTED = int(UpstreamKind.IF_SUBMITTED)
WITH_DATA = (UpstreamKind.DATA, UpstreamKind.DATA_OR_FAILURE)
RECORDED = (UpstreamKind.RESULT, UpstreamKind.FLOW_RESULT)
"""What nobody waits for."""
FOR_FLOWS = (UpstreamKind.NOT_COMPLETED, UpstreamKind.IF_SUBMITTED, *RECORDED)
"""What may lead to flow runs."""

DrawnEdge = tuple[int, bytes, int]
"""The position of a run in its group, the run it waits for, and how."""
Rows = Mapping[bytes, StoredRun]


class ModelEdges:
    """Which runs wait for which."""

    def __init__(self, specs: dict[bytes, Spec], flows: Mapping[bytes, Any]) -> None:
        self._specs = specs
        self._flows = flows
        self._kinds: dict[tuple[bytes, bytes], int] = {}
        self._open: dict[tuple[bytes, bytes], None] = {}
        """Edges to runs that may come, of runs that have not been seen to begin or end."""
        self._bound: set[tuple[bytes, bytes]] = set()
        """Those of them whose upstream run was there in time."""

    def drawn(
        self, ids: list[bytes], kind: int, wanted: Iterable[tuple[int, bytes]], ahead: Iterable[bytes]
    ) -> list[DrawnEdge]:
        """Make edges of what was drawn: the first run waits for those `ahead`, in case that they come."""
        edges: list[DrawnEdge] = [(0, run_id, IF_SUBMITTED) for run_id in ahead]
        for position, upstream_id in wanted:
            fits = upstream_id not in self._flows or kind in FOR_FLOWS
            if position < len(ids) and fits and ids[position] not in self._ahead_of(upstream_id):
                edges.append((position, upstream_id, kind))
        for position, upstream_id, of_kind in edges:
            self._kinds[ids[position], upstream_id] = of_kind
            if of_kind == IF_SUBMITTED:
                self._open[ids[position], upstream_id] = None
        return edges

    def _ahead_of(self, run_id: bytes) -> set[bytes]:
        """Return the runs that one waits for, through however many others, and itself."""
        found, left = {run_id}, [run_id]
        while left:
            spec = self._specs.get(left.pop())
            new = [each for each in spec.upstream if each not in found] if spec is not None else []
            found.update(new)
            left += new
        return found

    def look(self, rows_of: Callable[[Iterable[bytes]], Rows]) -> None:
        """Note which runs that may come are there while something else keeps those that wait for them."""
        for edge in list(self._open):
            run_id, upstream_id = edge
            rows = rows_of([run_id, *self._specs[run_id].upstream])
            own = rows.get(run_id)
            if own is not None and own.state >= FIRST_FINAL:
                del self._open[edge]
            elif upstream_id in rows and (own is None or self._is_kept(run_id, rows)):
                self._bound.add(edge)

    def _is_kept(self, run_id: bytes, rows: Rows) -> bool:
        kinds = {each: self._kinds[run_id, each] for each in self._specs[run_id].upstream}
        others = [each for each, kind in kinds.items() if kind not in (IF_SUBMITTED, *RECORDED)]
        return any(each in rows and rows[each].state < FIRST_FINAL for each in others)

    def check_begun(self, run_id: bytes, rows: Rows) -> dict[bytes, bytes | None]:
        """Check that a run may have begun with its upstream runs as they are; returns those it gets, and
        their rows' results.
        """
        expected: dict[bytes, bytes | None] = {}
        for upstream_id in self._specs[run_id].upstream:
            kind, row = self._kinds[run_id, upstream_id], rows.get(upstream_id)
            if kind in RECORDED:
                continue
            if kind == IF_SUBMITTED:
                self._open.pop((run_id, upstream_id), None)
                is_late = (run_id, upstream_id) not in self._bound
                assert is_late or (row is not None and row.state >= FIRST_FINAL), (
                    "overtook one that was there"
                )
                continue
            assert row is not None, "assigned before its upstream was there"
            assert accepts(kind, row.state), "assigned before its upstream had ended well"
            if kind in WITH_DATA:
                expected[upstream_id] = row.result
        return expected

    def check_ended(self, row: StoredRun, rows: Rows) -> None:
        """Check that a run which was not ready had a reason for that."""
        if row.state == RunState.NOT_READY:
            known = {each: rows[each] for each in self._specs[row.run_id].upstream if each in rows}
            # Of those that came after it, it was told that there are none.
            states = {each: one.state for each, one in known.items() if one.seq < row.seq}
            good = [
                accepts(self._kinds[row.run_id, each], states.get(each, 0))
                for each in self._specs[row.run_id].upstream
                if self._kinds[row.run_id, each] not in RECORDED
            ]
            assert not all(good), "not ready, and every upstream run had ended well"
