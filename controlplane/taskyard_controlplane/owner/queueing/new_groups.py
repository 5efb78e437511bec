"""Groups of new runs as a frame has them, and the portions in which they are added.

A frame is read whole, and checked whole before anything of it is kept. What it holds goes into one commit
when nobody else waits; otherwise portion by portion into several, because whoever submits one run waits for
the commit that is under way and for the one his run is in.
"""

import sys
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from types import MappingProxyType
from typing import Final, NamedTuple

from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_controlplane.domain.edges import Edge
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.queueing.headers import pack_headers
from taskyard_controlplane.owner.rules.authority import Place
from taskyard_controlplane.owner.rules.labels import label_of


class Portion(NamedTuple):
    """How much of a frame goes into one commit."""

    runs: int
    size: int
    """Bytes of arguments and code."""


WHOLE: Final = Portion(sys.maxsize, sys.maxsize)


class Needed(NamedTuple):
    """What of a batch is known from elsewhere: its templates, held for as long as somebody has this, and who
    makes the calls.
    """

    sent: dict[int, Template]
    """Those that come with it, by what its session calls them."""
    templates: Mapping[int, Template]
    """All of them, by number."""
    at_hand: Set[int]
    """The numbers of those that were in memory before."""
    callers: Mapping[bytes, Place] = MappingProxyType({})
    """Where those runs stand that add to a flow run of another session."""


class NewRuns(NamedTuple):
    """Runs of a group that follow each other."""

    group: "NewGroup"
    first: int
    """The position of the first one."""
    run_ids: list[bytes]
    args: list[bytes]
    """One for each, or none at all."""
    size: int
    """All arguments together."""
    longest: int
    """The largest."""

    @property
    def first_ordinal(self) -> int:
        """How many runs of its kind were submitted before the first one."""
        return self.group.message.first_ordinal + self.first


class NewGroup:
    """A group of new runs that was checked."""

    def __init__(self, message: pb.RunGroup, template: Template, run_ids: list[bytes]) -> None:
        """Read a group; `run_ids` are its own.

        Raises:
            InvalidRequest: Its headers are too long, or not printable.
        """
        self.message = message
        self.template = template
        self.headers = pack_headers(message.headers, "submit.groups.headers") if message.headers else None
        self._run_ids = run_ids

    @cached_property
    def by_position(self) -> tuple[dict[int, list[Edge]], dict[int, pb.RunExtra]]:
        """What runs wait for, and what only some of them have, by their positions."""
        message, edges = self.message, dict[int, list[Edge]]()
        columns = zip(message.upstream_positions, message.upstream_ids, message.upstream_kinds, strict=True)
        for position, upstream_id, kind in columns:
            edges.setdefault(position, []).append((upstream_id, kind))
        return edges, {extra.position: extra for extra in message.extras}

    def cut(self, portion: Portion) -> Iterator[NewRuns]:
        """Return all runs, in pieces that each fit into a portion, but for single runs that are larger.

        Arguments are taken out of the frame with their piece: to copy those of a large frame takes a while.
        """
        beside = {one.position: len(one.payload.data) + len(one.name) for one in self.message.extras}
        each = len(self.headers or b"")  # in the row of every run; mostly there are neither
        if portion is WHOLE:
            args = list(self.message.args)
            sizes = list(map(len, args))
            size = sum(sizes) + sum(beside.values()) + each * len(self._run_ids)
            yield NewRuns(self, 0, self._run_ids, args, size, max(sizes, default=0))
            return
        column, count = self.message.args, len(self._run_ids)
        start = size = longest = 0
        piece: list[bytes] = []
        for position in range(count):
            arg = column[position] if column else b""
            added = len(arg) + beside.get(position, 0) + each
            if position > start and (position - start >= portion.runs or size + added > portion.size):
                yield NewRuns(self, start, self._run_ids[start:position], piece, size, longest)
                start, size, longest, piece = position, 0, 0, []
            if column:
                piece.append(arg)
            size, longest = size + added, max(longest, len(arg))
        yield NewRuns(self, start, self._run_ids[start:], piece, size, longest)


def args_label(extra: pb.RunExtra, encoding: str) -> bytes | None:
    """Return what is kept of arguments beside their bytes, which are in `encoding` if none is named."""
    if extra.HasField("args"):
        return common_pb2.Payload(encoding=encoding, blob=extra.args).SerializeToString()
    return label_of(extra.payload, encoding) if extra.HasField("payload") else None


class Filling:
    """Counts what was added, and says when the next piece would be more than one commit should have."""

    __slots__ = ("_portion", "_runs", "_size")

    def __init__(self, portion: Portion) -> None:
        """Have added nothing yet."""
        self._portion = portion
        self._runs = self._size = 0

    def is_full(self, runs: int, size: int) -> bool:
        """Count a piece; whether it has to wait for the next commit, and is the first of that."""
        self._runs += runs
        self._size += size
        most = self._portion
        if (self._runs <= most.runs and self._size <= most.size) or (self._runs, self._size) == (runs, size):
            return False
        self._runs, self._size = runs, size
        return True
