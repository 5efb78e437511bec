"""What waits to be sent to the control plane, in the order in which the user's threads produced it.

User threads append, the loop's thread makes frames; one lock guards both, held for a few list operations
only. Nothing overtakes anything: a request to end a run must not arrive before the run, nor the end of a
flow run before the runs in it. So when runs may not be sent, because too many batches are unacknowledged,
everything behind them waits too.
"""

import threading
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final, NamedTuple

from taskyard._network.session.run_groups import GroupKey, RunGroup, Upstream
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.programs.uninterrupted import interruptible

RUNS_PER_FRAME: Final = 512
"""Enough that a frame's own cost does not show, few enough that the first results come early."""
BYTES_PER_FRAME: Final = 4 * 1024 * 1024
"""Far below what gRPC takes, so that heartbeats and cancellations are not held up behind one frame."""
DEFINED_PER_FRAME: Final = 1024 * 1024
"""Of these, bytes of templates and code that the server is told about; one that is larger goes alone."""
IDS_PER_FRAME: Final = 4096
"""64 KiB of ids: enough that a frame's own cost does not show."""
MOST_IDS: Final = 16 * IDS_PER_FRAME
"""How many ids a frame may hold before requests to end further runs wait for the next one."""
MOST_BYTES: Final = 256 * 1024 * 1024
"""What may wait here before whoever submits more has to wait, too."""
_LOOK_SECONDS: Final = 0.1
"""How often whoever waits for room looks whether anybody will ever make some."""


class EndRequest:
    """Ids of runs that somebody wants ended, as many as fit into one frame."""

    __slots__ = ("run_ids", "withdraws")

    def __init__(self, run_ids: list[bytes], withdraws: bool) -> None:
        """Ask for the end of `run_ids`; one that withdraws means only those that have not started."""
        self.run_ids = run_ids
        self.withdraws = withdraws


def end_requests(run_ids: list[bytes], withdraws: bool) -> list[EndRequest]:
    """Return the requests to end some runs, none of them too large for a frame."""
    starts = range(0, len(run_ids), IDS_PER_FRAME)
    return [EndRequest(run_ids[start : start + IDS_PER_FRAME], withdraws) for start in starts]


class Ending:
    """Runs whose end was requested, and whether that only withdraws them, until they have ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._withdraws: dict[bytes, bool] = {}

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._withdraws)

    def note(self, cancels: list[bytes], withdrawn: list[bytes], outstanding: Container[bytes]) -> None:
        """Note what is requested of runs, as far as these have not ended."""
        for run_id in withdrawn:
            if run_id in outstanding:
                self._withdraws.setdefault(run_id, True)  # to cancel it asks for more
        self._withdraws.update((run_id, False) for run_id in cancels if run_id in outstanding)

    def forget(self, run_ids: Iterable[bytes]) -> None:
        """Forget runs that have ended."""
        for run_id in run_ids:
            self._withdraws.pop(run_id, None)

    def requests(self, run_ids: Iterable[bytes] | None = None) -> list[EndRequest]:
        """Return what was requested, of all runs or of some."""
        ending: dict[bool, list[bytes]] = {False: [], True: []}
        for run_id in self._withdraws if run_ids is None else run_ids:
            withdraws = self._withdraws.get(run_id)
            if withdraws is not None:
                ending[withdraws].append(run_id)
        return [request for withdraws, ids in ending.items() for request in end_requests(ids, withdraws)]


Item = RunGroup | pb.FlowReport | EndRequest


class FrameContents(NamedTuple):
    """What one frame is to carry; groups still have to become messages."""

    groups: list[RunGroup]
    reports: list[pb.FlowReport]
    cancels: list[bytes]
    withdrawn: list[bytes]


class Outbox:
    """A queue of groups of runs, flow reports and requests to end runs. Thread-safe."""

    def __init__(self, to_define: Callable[[Template], int] = lambda template: len(template.code)) -> None:
        """Make a queue; `size` is how many bytes of arguments wait in it.

        Args:
            to_define: Returns how many bytes it takes to tell the server what a template is, if it has to
                be told.
        """
        self._lock = threading.Lock()
        self._items: deque[Item] = deque()
        self._tail: RunGroup | None = None
        self._room = threading.Event()
        self._to_define = to_define
        self.size = 0

    def add_run(
        self,
        key: GroupKey,
        run_id: bytes,
        args: bytes,
        ordinal: int,
        upstream: Upstream | None = None,
        cache_key: str | None = None,
        extra: pb.RunExtra | None = None,
    ) -> None:
        """Queue one run, in the last group if it belongs there. The hot path of ``submit``."""
        with self._lock:
            group = self._tail
            if (
                group is None
                or group.key is not key
                or group.first_ordinal + len(group.run_ids) != ordinal
                or len(group.run_ids) >= RUNS_PER_FRAME
                or group.size >= BYTES_PER_FRAME
            ):
                group = self._tail = RunGroup(key, ordinal)
                self._items.append(group)
            group.add(run_id, args, upstream, cache_key, extra)
            self.size += len(args)

    def add(self, item: Item) -> None:
        """Queue a whole group, a report or a request; no further run joins a group before it."""
        with self._lock:
            self._items.append(item)
            self._tail = None
            if isinstance(item, RunGroup):
                self.size += sum(map(len, item.args))

    def put_back(self, items: Sequence[Item]) -> None:
        """Queue items before everything else: they were sent and must be sent again."""
        with self._lock:
            self._items.extendleft(reversed(items))
            self.size += sum(len(args) for item in items if isinstance(item, RunGroup) for args in item.args)

    @interruptible
    def wait_for_room(self, given_up: Callable[[], bool]) -> None:
        """Block this thread while too much waits here, unless nobody will ever send it."""
        while self.size > MOST_BYTES and not given_up():
            self._room.clear()
            if self.size > MOST_BYTES:
                self._room.wait(_LOOK_SECONDS)

    def next_frame(self, with_groups: bool, only_groups: bool = False) -> FrameContents:
        """Take out the contents of one frame.

        Args:
            with_groups: Whether runs may be sent now. If not, everything behind them waits as well.
            only_groups: Whether everything else, and what is behind it, has to wait.

        Returns:
            What fits into the frame.
        """
        taken = FrameContents([], [], [], [])
        runs = size = defining = 0
        defined: set[Template] = set()
        with self._lock:
            items = self._items
            while items:
                item = items[0]
                if isinstance(item, RunGroup):
                    template = item.key.template
                    to_define = 0 if template in defined else self._to_define(template)
                    more = item.size + to_define
                    full = runs and (
                        runs + len(item.run_ids) > RUNS_PER_FRAME
                        or size + more > BYTES_PER_FRAME
                        or defining + to_define > DEFINED_PER_FRAME
                    )
                    if full or not with_groups:
                        break
                    taken.groups.append(item)
                    defined.add(template)
                    runs += len(item.run_ids)
                    size += more
                    defining += to_define
                    if item is self._tail:
                        self._tail = None  # what is sent is not extended
                elif only_groups:
                    break
                elif isinstance(item, EndRequest):
                    if len(taken.cancels) + len(taken.withdrawn) > MOST_IDS:
                        break
                    (taken.withdrawn if item.withdraws else taken.cancels).extend(item.run_ids)
                else:
                    if size > BYTES_PER_FRAME:
                        break
                    taken.reports.append(item)
                    size += item.ByteSize()
                items.popleft()
            self.size -= sum(len(args) for group in taken.groups for args in group.args)
        self._room.set()
        return taken

    def run_ids(self) -> set[bytes]:
        """Return the ids of all runs that were not taken yet."""
        with self._lock:
            return {run_id for item in self._items if isinstance(item, RunGroup) for run_id in item.run_ids}
