"""What retention reads and removes of rows that many runs share: templates, and the names of agents.

Nothing counts who names such a row, and no index finds him: runs are written too often for either. So whoever
removes some walks over all that may name one, in steps, and keeps what it finds.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Named(NamedTuple):
    """The rows that a step of a walk has found named, and where the next one begins."""

    templates: set[int]
    agents: set[int]
    last: object
    """Behind what it was; None at the end."""


class UnusedRows(Protocol):
    """Removes rows that nothing names. Like a `Store`: not thread-safe, and raises alike."""

    def named_by_runs(self, after_seq: int, limit: int) -> Named:
        """Return what the next runs beyond a number name."""
        ...

    def named_by_entries(self, after_key: str, limit: int) -> Named:
        """Return what the next cache entries beyond a key name, those whose runs are gone."""
        ...

    def templates(self, after_id: int, limit: int) -> list[int]:
        """Return the numbers of the next templates beyond one, in order; the newest one is left out."""
        ...

    def agents(self, after_number: int, limit: int) -> list[tuple[int, int]]:
        """Return the numbers of the next agents beyond one, in order, and when each was given; the newest one
        is left out.
        """
        ...

    def remove_templates(self, template_ids: Sequence[int]) -> int:
        """Remove templates, and release the blobs with their code; returns how many there were.

        MUST keep the newest one, whose number would be given to another one, and may be repeated.
        """
        ...

    def remove_agents(self, numbers: Sequence[int]) -> int:
        """Remove the names of agents; returns how many there were. MUST keep the newest one as well."""
        ...
