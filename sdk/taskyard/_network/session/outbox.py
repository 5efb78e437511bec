"""What waits to be sent to the control plane, in the order in which the user's threads produced it.

Invariant: runs that follow each other with the same template in the same scope share a `Block`, which
becomes one `SubmitGroup` without touching its runs again. User threads append, the portal's loop
takes; one lock guards both, held for a few list operations only.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb

RUNS_PER_FRAME: Final = 512
BYTES_PER_FRAME: Final = 4 * 1024 * 1024
IDS_PER_FRAME: Final = 4096
MOST_IDS: Final = 16 * IDS_PER_FRAME
"""How many ids a frame may hold before requests to end further runs wait for the next one."""
MOST_BYTES: Final = 256 * 1024 * 1024
"""What may wait here before whoever submits more has to wait, too."""
_LOOK_SECONDS: Final = 0.1

Upstream = dict[bytes, int]


class Block:
    """Runs of one template in one scope; becomes one `SubmitGroup`."""

    __slots__ = (
        "args",
        "cache_keys",
        "extras",
        "first_ordinal",
        "flow_run_id",
        "parent_run_id",
        "run_ids",
        "size",
        "template",
        "upstream",
    )

    def __init__(
        self, template: Template, flow_run_id: bytes, parent_run_id: bytes, first_ordinal: int
    ) -> None:
        """Start an empty block."""
        self.template = template
        self.flow_run_id = flow_run_id
        self.parent_run_id = parent_run_id
        self.first_ordinal = first_ordinal
        self.run_ids: list[bytes] = []
        self.args: list[bytes] = []
        self.cache_keys: list[str] | None = None
        self.upstream: list[tuple[int, bytes, int]] = []
        self.extras: list[pb.RunExtra] = []
        self.size = 0

    def add(
        self,
        run_id: bytes,
        args: bytes,
        upstream: Upstream | None,
        cache_key: str | None,
        extra: pb.RunExtra | None,
    ) -> None:
        """Append one run."""
        position = len(self.run_ids)
        self.run_ids.append(run_id)
        self.args.append(args)
        self.size += len(args) + 32
        if upstream:
            self.upstream.extend([(position, parent, kind) for parent, kind in upstream.items()])
        if cache_key is not None or self.cache_keys is not None:
            self._add_cache_key(position, cache_key or "")
        if extra is not None:
            extra.position = position
            self.extras.append(extra)

    def add_plain(self, run_id: bytes, args: bytes) -> None:
        """Append one run that has nothing but arguments. The hot path of ``map``."""
        self.run_ids.append(run_id)
        self.args.append(args)
        self.size += len(args) + 32

    def _add_cache_key(self, position: int, cache_key: str) -> None:
        if self.cache_keys is None:
            self.cache_keys = [""] * position
        self.cache_keys.append(cache_key)

    def to_group(self, index: int) -> pb.SubmitGroup:
        """Write the block as a message that names its template by `index`."""
        group = pb.SubmitGroup(
            template=index,
            flow_run_id=self.flow_run_id,
            parent_run_id=self.parent_run_id,
            run_ids=self.run_ids,
            first_ordinal=self.first_ordinal,
        )
        if any(self.args):
            group.args.extend(self.args)
        if self.cache_keys is not None:
            group.cache_keys.extend(self.cache_keys)
        if self.upstream:
            positions, ids, kinds = zip(*self.upstream, strict=True)
            group.upstream_positions.extend(positions)
            group.upstream_ids.extend(ids)
            group.upstream_kinds.extend(kinds)
        if self.extras:
            group.extras.extend(self.extras)
        return group

    def parts_with(self, run_ids: set[bytes]) -> "list[Block]":
        """Return blocks that hold only those runs of this one that are in `run_ids`."""
        parts: list[Block] = []
        upstream: dict[int, Upstream] = {}
        for position, parent, kind in self.upstream:
            upstream.setdefault(position, {})[parent] = kind
        extras = {extra.position: extra for extra in self.extras}
        for position, run_id in enumerate(self.run_ids):
            if run_id not in run_ids:
                continue
            ordinal = self.first_ordinal + position
            if not parts or parts[-1].first_ordinal + len(parts[-1].run_ids) != ordinal:
                parts.append(Block(self.template, self.flow_run_id, self.parent_run_id, ordinal))
            cache_key = self.cache_keys[position] if self.cache_keys is not None else None
            parts[-1].add(
                run_id, self.args[position], upstream.get(position), cache_key, _copy(extras.get(position))
            )
        return parts


class Cancel:
    """A request to cancel runs; it must not overtake their submission."""

    __slots__ = ("run_ids", "unless_started")

    def __init__(self, run_ids: list[bytes], *, unless_started: bool = False) -> None:
        """Ask for the end of `run_ids`, or only of those that have not started."""
        self.run_ids = run_ids
        self.unless_started = unless_started


def cancels_of(run_ids: list[bytes], *, unless_started: bool = False) -> list[Cancel]:
    """Return the requests to end some runs, none of them too large for a frame."""
    starts = range(0, len(run_ids), IDS_PER_FRAME)
    return [Cancel(run_ids[start : start + IDS_PER_FRAME], unless_started=unless_started) for start in starts]


def _copy(extra: pb.RunExtra | None) -> pb.RunExtra | None:
    """Copy a message whose position will differ in another block."""
    if extra is None:
        return None
    copied = pb.RunExtra()
    copied.CopyFrom(extra)
    return copied


Item = Block | pb.FlowReport | Cancel


class Taken(NamedTuple):
    """The contents of one frame."""

    blocks: list[Block]
    reports: list[pb.FlowReport]
    cancels: list[bytes]
    withdrawn: list[bytes]


class Outbox:
    """A queue of blocks, flow reports and cancel requests. Thread-safe."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._items: deque[Item] = deque()
        self._tail: Block | None = None
        self._room = threading.Event()
        self.size = 0

    def add_run(
        self,
        template: Template,
        flow_run_id: bytes,
        parent_run_id: bytes,
        run_id: bytes,
        args: bytes,
        ordinal: int,
        upstream: Upstream | None = None,
        cache_key: str | None = None,
        extra: pb.RunExtra | None = None,
    ) -> None:
        """Queue one run, in the last block if it belongs there. The hot path of ``submit``."""
        with self._lock:
            block = self._tail
            if (
                block is None
                or block.template is not template
                or block.flow_run_id != flow_run_id
                or block.parent_run_id != parent_run_id
                or block.first_ordinal + len(block.run_ids) != ordinal
                or len(block.run_ids) >= RUNS_PER_FRAME
                or block.size >= BYTES_PER_FRAME
            ):
                block = self._tail = Block(template, flow_run_id, parent_run_id, ordinal)
                self._items.append(block)
            block.add(run_id, args, upstream, cache_key, extra)
            self.size += len(args)

    def add(self, item: Item) -> None:
        """Queue anything else."""
        with self._lock:
            self._items.append(item)
            self._tail = None
            if isinstance(item, Block):
                self.size += sum(map(len, item.args))

    def put_back(self, items: Sequence[Item]) -> None:
        """Queue items before everything else: they were sent and must be sent again."""
        with self._lock:
            self._items.extendleft(reversed(items))
            self.size += sum(len(args) for item in items if isinstance(item, Block) for args in item.args)

    def wait_for_room(self, given_up: Callable[[], bool]) -> None:
        """Block this thread while too much waits here, unless nobody will ever send it."""
        while self.size > MOST_BYTES and not given_up():
            self._room.clear()
            if self.size > MOST_BYTES:
                self._room.wait(_LOOK_SECONDS)

    def take(self, with_blocks: bool) -> "Taken":
        """Take the contents of one frame.

        Args:
            with_blocks: Whether runs may be sent now. If not, everything behind them waits as well.

        Returns:
            What fits into the frame.
        """
        blocks: list[Block] = []
        reports: list[pb.FlowReport] = []
        cancels: list[bytes] = []
        withdrawn: list[bytes] = []
        runs = size = 0
        with self._lock:
            items = self._items
            while items:
                item = items[0]
                if isinstance(item, Block):
                    full = runs and (
                        runs + len(item.run_ids) > RUNS_PER_FRAME or size + item.size > BYTES_PER_FRAME
                    )
                    if full or not with_blocks:
                        break
                    blocks.append(item)
                    runs += len(item.run_ids)
                    size += item.size
                    if item is self._tail:
                        self._tail = None
                elif isinstance(item, Cancel):
                    if len(cancels) + len(withdrawn) > MOST_IDS:
                        break
                    (withdrawn if item.unless_started else cancels).extend(item.run_ids)
                else:
                    if size > BYTES_PER_FRAME:
                        break
                    reports.append(item)
                    size += item.ByteSize()
                items.popleft()
            self.size -= sum(len(args) for block in blocks for args in block.args)
        self._room.set()
        return Taken(blocks, reports, cancels, withdrawn)

    def run_ids(self) -> set[bytes]:
        """Return the ids of all runs that were not taken yet."""
        with self._lock:
            return {run_id for item in self._items if isinstance(item, Block) for run_id in item.run_ids}
