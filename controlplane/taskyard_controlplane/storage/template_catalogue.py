"""Which templates have a name, an identity, a queue or a tag: what listings ask for, and runs do not say.

A template is written once and never changed, and a later one has a higher number. So the catalogue reads each
of them once, those that are new when somebody asks, and keeps of it only under which words it stands. Nobody
who does not ask for these pays for it; a hundred thousand templates take some 10 MB.

To read so many takes a second. So whoever asks first has them read in parts (`learn`), and others have the
thread, and the catalogue, in between.
"""

import threading
from array import array
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, select

from taskyard_api.v1.template_pb2 import RunTemplate
from taskyard_controlplane.storage.interface import RunFilter
from taskyard_controlplane.storage.schema import template

_AT_ONCE: Final = 512
PART: Final = 5_000
"""Templates read without a break: some 50 ms."""

_Index = dict[str, "array[int]"]


class _Words(NamedTuple):
    """The numbers of templates, in order, by what they have in common."""

    names: _Index
    keys: _Index
    queues: _Index
    tags: _Index


class TemplateCatalogue:
    """The templates of one database. Thread-safe."""

    def __init__(self) -> None:
        """Know no template yet."""
        self._lock = threading.Lock()
        self._last = 0
        self._words = _Words({}, {}, {}, {})

    def learn(self, connection: Connection) -> bool:
        """Read some of the templates that are not known yet; whether all of them are."""
        with self._lock:
            return self._read_new(connection, PART)

    def fitting(self, connection: Connection, wanted: RunFilter) -> list[int] | None:
        """Return the numbers of the templates that runs which fit a filter have; None when any will do."""
        words = self._words
        asked = [
            (index, word)
            for index, word in (
                (words.names, wanted.task_name),
                (words.keys, wanted.task_key),
                (words.queues, wanted.queue),
                *((words.tags, tag) for tag in wanted.tags),
            )
            if word
        ]
        if not asked:
            return None
        with self._lock:
            self._read_new(connection)
            found = [set(index.get(word, ())) for index, word in asked]
        return sorted(set.intersection(*found))

    def _read_new(self, connection: Connection, most: int | None = None) -> bool:
        """Read `most` templates or a few more, None for all; whether there are no others."""
        query = select(template.c.template_id, template.c.name, template.c.definition)
        query = query.order_by(template.c.template_id).limit(_AT_ONCE)
        count = 0
        while most is None or count < most:
            rows = connection.execute(query.where(template.c.template_id > self._last)).all()
            for template_id, name, definition in rows:
                self._add(template_id, name, definition)
                self._last = template_id
            count += len(rows)
            if len(rows) < _AT_ONCE:
                return True
        return False

    def _add(self, template_id: int, name: str, definition: bytes) -> None:
        try:
            read = RunTemplate.FromString(definition)
        except DecodeError:
            read = RunTemplate()  # what nobody can read has a name only
        for index, words in (
            (self._words.names, [name]),
            (self._words.keys, [read.task_key]),
            (self._words.queues, [read.queue]),
            (self._words.tags, set(read.tags)),
        ):
            for word in words:
                index.setdefault(word, array("l")).append(template_id)
