"""Batches of runs that were sent and are not known to be durable.

The control plane acknowledges numbers of batches after its commit. Until then a batch may be lost with the
stream that carried it, so it is kept and sent once more on the next stream, under the same number and marked;
ids of runs make a second arrival harmless. How many batches may be unacknowledged, the server says.

Templates are named by small indexes that hold for one stream only, and code is sent once: on a new stream
every template is defined again, and code again unless a run that needs it is durable.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from taskyard._network.session.run_groups import RunGroup
from taskyard._network.session.templates import Template
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as pb

FIRST_WINDOW: Final = 8
"""Batches in flight to a server that has not said how many it takes."""

Batch = tuple[int, Sequence[RunGroup]]


class Unacknowledged:
    """What was sent on this stream and those before it. Used by the loop's thread only."""

    def __init__(self) -> None:
        """Begin where no batch is on its way; the first one gets the number 1."""
        self._window = FIRST_WINDOW
        self._number = 0
        self._sent: deque[Batch] = deque()
        self._again: deque[Batch] = deque()
        self._templates: dict[Template, int] = {}
        self._blobs_sent: set[bytes] = set()
        self._blobs_durable: set[bytes] = set()
        self._refused: set[bytes] = set()

    def has_room(self) -> bool:
        """Say whether another batch may be sent."""
        return len(self._sent) < self._window

    def on_new_stream(self, window: int) -> None:
        """Forget what the last stream was told, and prepare to send again what may be lost with it."""
        self._window = window or self._window
        self._templates = {}
        self._blobs_sent = set(self._blobs_durable)
        self._again = deque(self._sent)

    def next_again(self) -> pb.SubmitBatch | None:
        """Return the next batch that was sent on a stream before this one, or None."""
        if not self._again:
            return None
        number, groups = self._again.popleft()
        return self._message(number, groups, resend=True)

    def send(self, groups: Sequence[RunGroup]) -> pb.SubmitBatch:
        """Return groups as a batch under the next number, and keep them until it is acknowledged."""
        self._number += 1
        self._sent.append((self._number, groups))
        return self._message(self._number, groups)

    def to_define(self, template: Template) -> int:
        """Return how many bytes the next batch needs for the definition of a template."""
        if template in self._templates:
            return 0
        code = 0 if template.digest in self._blobs_sent else len(template.code)
        return template.message.ByteSize() + code

    def refuse(self, run_ids: Iterable[bytes]) -> None:
        """Note runs that the server has refused: their batches will be acknowledged all the same."""
        self._refused.update(run_ids)

    def give_up(self, run_ids: set[bytes]) -> None:
        """Never send some runs again: whoever submitted them was told that they are refused."""
        self._sent = deque((number, _without(run_ids, groups)) for number, groups in self._sent)
        self._again = deque((number, _without(run_ids, groups)) for number, groups in self._again)

    def acknowledge(self, number: int) -> None:
        """Forget the batches up to a number: what was not refused of them is durable.

        So is the code of a run that is. The code of one that was refused may be nowhere but in the server's
        memory, whatever the reason was, and will be sent again on the next stream.
        """
        while self._again and self._again[0][0] <= number:
            self._again.popleft()
        while self._sent and self._sent[0][0] <= number:
            for group in self._sent.popleft()[1]:
                self._note_durable(group)
        if not self._sent:
            self._refused.clear()

    def _note_durable(self, group: RunGroup) -> None:
        digest, refused = group.key.template.digest, self._refused
        if digest and digest not in self._blobs_durable and not refused.issuperset(group.run_ids):
            self._blobs_durable.add(digest)
        if refused:
            refused.difference_update(group.run_ids)

    def run_ids(self) -> set[bytes]:
        """Return the ids of all runs in these batches."""
        return {run_id for _, groups in self._sent for group in groups for run_id in group.run_ids}

    def parts_with(self, run_ids: set[bytes]) -> list[RunGroup]:
        """Return some runs of these batches, as groups of their own."""
        return [part for _, groups in self._sent for group in groups for part in group.parts_with(run_ids)]

    def _message(self, number: int, groups: Sequence[RunGroup], resend: bool = False) -> pb.SubmitBatch:
        batch = pb.SubmitBatch(number=number, resend=resend)
        for group in groups:
            batch.groups.append(group.to_message(self._index_of(group.key.template, batch)))
        return batch

    def _index_of(self, template: Template, batch: pb.SubmitBatch) -> int:
        """Return a template's index on this stream, adding its definition if this is its first use."""
        index = self._templates.get(template)
        if index is None:
            index = self._templates[template] = len(self._templates) + 1
            batch.templates.append(template_pb2.TemplateDefinition(index=index, template=template.message))
            if template.code and template.digest not in self._blobs_sent:
                self._blobs_sent.add(template.digest)
                batch.blobs.append(common_pb2.InlineBlob(digest=template.digest, data=template.code))
        return index


def _without(run_ids: set[bytes], groups: Sequence[RunGroup]) -> Sequence[RunGroup]:
    """Return groups without some of their runs; the same one where it has none of them."""
    left: list[RunGroup] = []
    for group in groups:
        if run_ids.isdisjoint(group.run_ids):
            left.append(group)
        else:
            left += group.parts_with({*group.run_ids} - run_ids)
    return left
