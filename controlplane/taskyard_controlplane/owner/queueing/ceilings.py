"""What is too much to be accepted at the moment, and what whoever submits it is told.

A submission is refused before anything of it is kept, and comes again later. What ends runs is never refused:
it makes room.
"""

from collections.abc import Collection
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Overloaded
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.templates import Templates

MAX_UNCOMMITTED_RUNS: Final = 200_000
"""Beyond, submissions are refused for now: while the database does not answer, what is accepted piles up
here, some 400 bytes each. Their arguments are counted in bytes."""
RETRY_SECONDS: Final = 1.0
"""When an overloaded server is asked again: a commit of all that may be uncommitted takes less."""
WITH_RUNS_BYTES: Final = 16 * 1024 * 1024
"""Of templates and code that are taken although their runs are refused, beyond what may be uncommitted."""


class Ceilings:
    """What a shard accepts that is not durable yet, and of how many templates."""

    def __init__(self, journal: Journal, templates: Templates, max_uncommitted_bytes: int) -> None:
        """Accept so many bytes beyond what is durable."""
        self._journal = journal
        self._templates = templates
        self._max_uncommitted_bytes = max_uncommitted_bytes

    def crowded(self, batch: pb.SubmitBatch) -> bool:
        """Whether too much is accepted and not durable for the templates and the code of a batch.

        They cannot be refused run by run, so their peer has to wait. What comes with runs may go beyond, as
        they are about to be refused, and should hear that at once.
        """
        if not (batch.templates or batch.blobs):
            return False
        beyond = WITH_RUNS_BYTES if batch.groups else 0
        return self._journal.uncommitted_bytes > self._max_uncommitted_bytes + beyond

    def overload(self) -> Overloaded | None:
        """Return the refusal of whatever is new while too much is accepted and not durable; None mostly.

        To be asked before anything of a submission is kept: what is under way when the ceiling is reached is
        let in whole, so the ceiling is exceeded by one group or call at most.
        """
        if self._journal.new_runs > MAX_UNCOMMITTED_RUNS:
            return Overloaded(
                "the control plane has too many runs to commit; repeat later", retry_after=RETRY_SECONDS
            )
        if self._journal.uncommitted_bytes > self._max_uncommitted_bytes:
            return Overloaded(
                "the control plane has too many bytes to commit; repeat later",
                limit=self._max_uncommitted_bytes,
                retry_after=RETRY_SECONDS,
            )
        return None

    def refused_template(
        self, template: Template, at_hand: Collection[int], sender: bytes = b""
    ) -> Overloaded | None:
        """Return the refusal of runs whose template no open run has, while those there are are too many.

        `at_hand` are the numbers of those that were in memory before. They cost nothing, so whoever has work
        under way goes on with it.
        """
        if template.template_id in at_hand or not self._templates.full(sender):
            return None
        return Overloaded(
            "the open runs have too many different templates; repeat later", retry_after=RETRY_SECONDS
        )
