"""How many bytes of what users send the control plane holds in memory. Pure.

What is counted is payload: arguments, results, code. Records and indexes of runs are counted in runs.
Payload of an open run is in the database as soon as the run is durable, so it need not be in memory as well
before the run is sent to an agent: what does not fit is only noted by its size (`Kept`), and read when its
turn comes.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Final

MIB: Final = 1024 * 1024

Kept = bytes | int | None
"""A payload of a run in memory: its bytes; or how many bytes there are, all of them only in the database; or
nothing."""

Input = tuple[bytes, Kept, Kept]
"""What a run gets from an upstream run: its id, its result, and its outcome where that is more."""

ALWAYS_KEPT: Final = 256
"""Payloads up to this size stay with the record of a run that could start, which is larger itself: reading
them back would cost more than they do."""
LARGE_INPUTS: Final = 4 * MIB
"""Inputs of a run that are larger together are put together while an agent fetches them, and never held in
memory as a whole: messages end at 16 MiB, and a frame has more in it than one chunk."""
ID_BYTES: Final = 16
MANY_INPUTS: Final = 8_192
"""A run with more of them has `ManyInputs`, and gets them as a file: to write a message of so many takes the
owner's loop some 8 ms."""
INPUT_OVERHEAD: Final = 32
"""What an input takes in a message beside its value: the id of its run, a position, lengths."""


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """How much of what users send is held in memory, in bytes. What is beyond waits in the database, or with
    whoever wants to send it; nothing is lost by a lower number.

    Raises:
        ValueError: A number is not greater than 0.
    """

    uncommitted: int = 64 * MIB
    """Accepted and not durable yet. Default 64 MiB: beyond, submissions are answered OVERLOADED, and clients
    repeat them after a second. While the database answers, clients of the SDK do not get there: each has at
    most 32 MiB under way."""

    payload: int = 128 * MIB
    """Arguments, headers, and results of upstream runs, of open runs that no agent has. Default 128 MiB; what
    is beyond is read from the database when its runs are sent. Payloads up to 256 bytes of runs that could
    start are part of their records, and not counted."""

    session_payload: int = 16 * MIB
    """Of these, for the runs of one session. Default 16 MiB: one client must not take all of it."""

    queue_payload: int = 64 * MIB
    """Of these, for the runs of one queue, waiting or ready. Default 64 MiB, for the same reason."""

    templates: int = 32 * MIB
    """What the templates of open runs take. Default 32 MiB, some 12,000 templates: beyond, runs of further
    ones are answered OVERLOADED until others have ended."""

    inputs: int = 16 * 1024 * MIB
    """Most bytes that the results of all upstream runs of one run may have together, as far as they are no
    blobs. Default 16 GiB, as of one value: one worker has to hold all of them. They are no part of this
    memory. A run with more ends Failed when it would start."""

    pushed_results: int = 16 * MIB
    """Results that one client was sent and has not read. Default 16 MiB: far more than is on its way to a
    client that reads; one that does not is read them back from the database later."""

    pushed_logs: int = 4 * MIB
    """The same of log records. Default 4 MiB: what is beyond is not sent, and the client says how many."""

    pushed_output: int = 8 * MIB
    """The same of what its runs print. Default 8 MiB: what is beyond is not shown, and the client says how
    many lines that were."""

    pushed: int = 128 * MIB
    """Of all clients together: results, log records and output each. Default 128 MiB."""

    read_from_client: int = 16 * MIB
    """Read from one client and not durable yet; all clients together have `uncommitted`. Default 16 MiB: a
    client that sends faster than the database takes is not read until it does."""

    read_from_agent: int = 32 * MIB
    """The same of one agent. Default 32 MiB: more, because an agent that is not read is not heard."""

    read_from_agents: int = 256 * MIB
    """Of all agents together. Default 256 MiB."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"{each.name} is {getattr(self, each.name)}; it must be greater than 0")


DEFAULT_MEMORY: Final = MemoryLimits()


def size_of(kept: Kept) -> int:
    """Return how many bytes a payload has, in memory or not."""
    if kept is None:
        return 0
    return kept if isinstance(kept, int) else len(kept)


class ManyInputs:
    """What a run gets from very many upstream runs, in the order in which it came: from whom, and how much.

    The values are in the database, and are read when they are sent on. 24 bytes are kept for each, whatever
    it is; an input in a list takes ten times as much beside its value.
    """

    __slots__ = ("_ids", "_sizes")

    def __init__(self, inputs: Iterable[Input] = ()) -> None:
        """Keep what is known of some inputs."""
        self._ids = bytearray()
        self._sizes = array("Q")
        for each in inputs:
            self.append(each)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sizes)

    def append(self, one: Input) -> None:
        """Add one."""
        upstream_id, result, outcome = one
        self._ids += upstream_id
        self._sizes.append(size_of(result if outcome is None else outcome))

    def __iter__(self) -> Iterator[Input]:
        """Iterate over all, each as one that is only in the database."""
        for position, size in enumerate(self._sizes):
            yield self._id(position), size, None

    def __getitem__(self, part: slice) -> list[Input]:
        """Return some of them."""
        return [(self._id(at), self._sizes[at], None) for at in range(*part.indices(len(self)))]

    def _id(self, position: int) -> bytes:
        return bytes(self._ids[position * ID_BYTES : (position + 1) * ID_BYTES])
