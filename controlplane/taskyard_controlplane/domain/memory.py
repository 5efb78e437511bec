"""How many bytes of what users send the control plane holds in memory. Pure.

What is counted is payload: arguments, results, code. Records and indexes of runs are counted in runs.
Payload of an open run is in the database as soon as the run is durable, so it need not be in memory as well
before the run is sent to an agent: what does not fit is only noted by its size (`Kept`), and read when its
turn comes.
"""

from typing import Final, NamedTuple

MIB: Final = 1024 * 1024

Kept = bytes | int | None
"""A payload of a run in memory: its bytes; or how many bytes there are, all of them only in the database; or
nothing."""

ALWAYS_KEPT: Final = 256
"""Payloads up to this size stay with the record of a run that could start, which is larger itself: reading
them back would cost more than they do."""
LARGE_INPUTS: Final = 4 * MIB
"""Inputs of a run that are larger together are put together while an agent fetches them, and never held in
memory as a whole: messages end at 16 MiB, and a frame has more in it than one chunk."""
INPUT_OVERHEAD: Final = 32
"""What an input takes in a message beside its value: the id of its run, a position, lengths."""


class MemoryLimits(NamedTuple):
    """Ceilings in bytes; the settings say what each is for."""

    uncommitted: int = 64 * MIB
    """Of what was accepted and is not durable yet."""
    payload: int = 128 * MIB
    """Of the arguments and inputs of open runs that no agent has, in all."""
    session_payload: int = 64 * MIB
    """Of those of one session."""
    queue_payload: int = 64 * MIB
    """Of those in one queue, waiting or ready."""
    inputs: int = 1024 * MIB
    """Of all inputs of one run, wherever they are."""
    pushed_results: int = 16 * MIB
    """Of results that one client has not read yet; what is beyond is read back from the database."""
    pushed_logs: int = 4 * MIB
    """Of log records that one client has not read yet; what is beyond is in the database only."""
    pushed: int = 128 * MIB
    """Of what all clients together have not read yet, of results and of log records each."""
    read_from_client: int = 16 * MIB
    """Of what was read from one client and is not durable yet; all of them together have `uncommitted`."""
    read_from_agent: int = 32 * MIB
    """The same of one agent. More than for clients: an agent that is not read is not heard to be alive."""
    read_from_agents: int = 256 * MIB
    """Of all agents together."""


DEFAULT_MEMORY: Final = MemoryLimits()


def size_of(kept: Kept) -> int:
    """Return how many bytes a payload has, in memory or not."""
    if kept is None:
        return 0
    return kept if isinstance(kept, int) else len(kept)
