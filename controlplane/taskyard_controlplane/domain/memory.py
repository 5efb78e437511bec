"""How many bytes of what users send the control plane holds in memory. Pure.

What is counted is payload: arguments, results, code. Records and indexes of runs are counted in runs.
"""

from typing import Final, NamedTuple

MIB: Final = 1024 * 1024


class MemoryLimits(NamedTuple):
    """Ceilings in bytes; the settings say what each is for."""

    uncommitted: int = 64 * MIB
    """Of what was accepted and is not durable yet."""
