"""What retention reads and removes, in small steps: each is one short transaction of the owner.

What is removed is decided above; here is only what has to hold inside the transaction. Blobs go in an order
that survives any kill: nobody refers to one -> it is doomed -> its bytes go, after a while -> its row goes.
So what is doomed after a crash is gone on with, and bytes whose row is there are there.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol


class OldRun(NamedTuple):
    """A run, as far as it says whether it may go."""

    seq: int
    run_id: bytes
    kind: int
    state: int
    flow_seq: int | None
    submitted_us: int
    ended_us: int | None
    session_id: bytes | None
    name: str  # of its task or flow
    flow_state: int | None  # of the flow run it is in


class RemovedRuns(NamedTuple):
    """What went with some runs."""

    runs: int = 0
    events: int = 0
    logs: int = 0
    last_id: bytes = b""
    """The highest id among them that has to be remembered."""


class AboutRuns(NamedTuple):
    """What there is about some runs, and would go with them."""

    runs: int
    events: int
    logs: int
    names: list[str]  # of blobs, once for each reference


class RefKey(NamedTuple):
    """One reference to a blob, where a walk over all of them goes on."""

    kind: int
    holder: int
    name: str


class Swept(NamedTuple):
    """What a step of a walk has removed, and where the next one begins."""

    removed: int
    last: object
    """Behind what it was; None at the end."""


class KeptBytes(NamedTuple):
    """How much blobs take that something refers to, and those that are about to go."""

    kind: int
    """A `BlobRefKind`; 0 for those nothing refers to."""
    blobs: int
    size: int


class RunRemovals(Protocol):
    """Removes runs that are over, with all about them. Like a `Store`: not thread-safe, and raises alike."""

    def runs(self, after_seq: int, limit: int) -> list[OldRun]:
        """Return the next runs beyond a number, by number, also such as are open."""
        ...

    def flows(self, after_seq: int, limit: int) -> list[OldRun]:
        """Return the next flow runs beyond a number, by number."""
        ...

    def about(self, seqs: Sequence[int]) -> AboutRuns:
        """Return what there is about some runs."""
        ...

    def expired(self, now_us: int) -> int:
        """Return how many cache entries have expired."""
        ...

    def waits_of(self, after_seq: int, limit: int) -> tuple[list[bytes], int | None]:
        """Return what the open ones of the next runs in the backlog wait for, as packed edges, and the number
        of the last one that was looked at; None at the end.
        """
        ...

    def remove_runs(self, seqs: Sequence[int], now_us: int) -> RemovedRuns:
        """Remove runs that have ended, with all that is about them; open ones stay.

        MUST leave entries of the cache usable, keep their ids for `seen`, and release the blobs that nothing
        refers to any more. MUST NOT have the number of one be given to another one.
        """
        ...

    def remove_logs(self, after: int, before_us: int, limit: int) -> Swept:
        """Remove log records of ended runs from before a time, among the next `limit`; the walk ends at the
        first ones that are all younger.
        """
        ...

    def remove_expired(self, after: str, now_us: int, limit: int) -> Swept:
        """Remove the expired ones of the next `limit` cache entries."""
        ...

    def seen(self, run_ids: Collection[bytes]) -> list[bytes]:
        """Return those ids that runs have, or runs had that are gone and remembered: those that were younger
        than a day.
        """
        ...

    def last_gone(self) -> bytes:
        """Return the highest id of a run that is gone and remembered; empty when there is none."""
        ...

    def forget_gone(self, after: object, before_us: int, limit: int) -> Swept:
        """Forget ids of runs that went before a time, among the next `limit` ranges of them."""
        ...


class BlobRemovals(Protocol):
    """Removes the rows of blobs that nobody refers to. Like a `Store` as well."""

    def released(self, limit: int) -> list[str]:
        """Return names of blobs that may have nobody who refers to them any more."""
        ...

    def doom(self, names: Sequence[str], expires_us: int) -> list[str]:
        """Doom those of some released or doomed blobs that nothing refers to, and return their names; the
        others are kept.
        """
        ...

    def doomed(self) -> list[str]:
        """Return the names of doomed blobs."""
        ...

    def remove_blobs(self, names: Sequence[str]) -> None:
        """Remove the rows of blobs whose bytes are gone, if they are still doomed."""
        ...

    def orphans(self, names: Sequence[str]) -> list[str]:
        """Return those names that no row has, and that no open run may still report."""
        ...

    def sizes_of(self, seqs: Sequence[int]) -> dict[int, int]:
        """Return how much the blobs take that some runs refer to, those that do."""
        ...

    def referred(self, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return the sizes of some blobs, and how many refer to each."""
        ...

    def sweep_refs(self, after: object, limit: int) -> Swept:
        """Remove those of the next references whose holder is gone, and release what they referred to."""
        ...

    def sweep_blobs(self, after: object, before_us: int, limit: int) -> Swept:
        """Release those of the next blobs, made before a time, that nothing refers to."""
        ...

    def kept_bytes(self, after: str, limit: int) -> tuple[list[KeptBytes], str | None]:
        """Return how much the next blobs behind a name take, by who refers to them, and the name of the last
        one; None at the end.
        """
        ...
