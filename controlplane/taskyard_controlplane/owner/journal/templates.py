"""Templates by content: each is stored once, whoever sends it, and in memory while somebody needs it.

Who needs it holds it: a run in memory does, and nobody has to count. What nobody holds is gone from memory,
but for those used last, which are kept at hand up to a number of bytes; the database has all of them, and
they are read from there again, in bulk, with the rows or for the frame that name them. So what was sent once
and is not used any more costs nothing, however much it was. Sessions and agents know numbers only.

Invariants: there is at most one record of a template at a time; a template that is not durable yet stays in
memory, because nobody could read it back.
"""

import asyncio
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from hashlib import sha256
from typing import Final, NamedTuple

from taskyard_contract.errors import InvalidRequest
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.journal.code_shelf import CodeShelf
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.seen_digests import SeenDigests
from taskyard_controlplane.owner.journal.template_reading import (
    encoding_in,
    parsed_new,
    read_stored,
    read_template,
)
from taskyard_controlplane.owner.leaving_templates import LeavingTemplates
from taskyard_controlplane.storage.interface import CachedResult, RunHead, Store, TemplateRow

AT_HAND_BYTES: Final = 16 * 1024 * 1024
"""Of templates that are kept although no run needs them, because the next one may: thousands."""
RECORD_BYTES: Final = 2048
"""What a record takes beside its definition, roughly."""
PART: Final = 64
"""How many are made at a time: some milliseconds of work. Others get their turn, and as much, in between."""
PART_BYTES: Final = 64 * 1024
"""The same of large ones: what a commit has of them is written in as much time."""
MAX_REFUSED: Final = 256
"""Of which is remembered that no database can hold them. The checks at the doors let none through."""
FAIR_BYTES: Final = 1024 * 1024
"""What open runs may hold of templates for one sender when they hold too much in all: a hundred tasks."""


class _Reference(weakref.ref[Template]):
    """Finds a template for as long as somebody holds it."""

    __slots__ = ("digest", "sender", "size", "template_id")

    def __init__(self, template: Template, gone: "Callable[[_Reference], None]") -> None:
        super().__init__(template, gone)  # type: ignore[call-arg]  # `ref` takes it in its constructor
        self.template_id = template.template_id
        self.digest = template.digest
        self.size = _size_of(template)
        self.sender = b""


def _size_of(template: Template) -> int:
    return len(template.definition) + RECORD_BYTES


class Beside(NamedTuple):
    """Rows of runs as they were read, and what was read beside them."""

    rows: list[RunHead]
    held: list[Template]
    read: list[TemplateRow]


class Fetched(NamedTuple):
    """Templates that were asked for, held for as long as somebody has this."""

    templates: Mapping[int, Template]
    """Those that are recorded, by number."""
    at_hand: frozenset[int]
    """The numbers of those that were in memory before."""


class Interned(NamedTuple):
    """Templates by content, held for as long as somebody has this."""

    templates: Sequence[Template]
    """In the order of their contents."""
    at_hand: Set[int]
    """The numbers of those that were in memory before."""


class FoundRuns(list[RunHead]):
    """Rows of runs; for as long as somebody has them, records can be made of those that are open."""

    templates: Sequence[Template] = ()

    def only(self, wanted: Callable[[RunHead], bool]) -> "FoundRuns":
        """Return some of them."""
        some = FoundRuns(filter(wanted, self))
        some.templates = self.templates
        return some


class Templates:
    """The templates of a shard that somebody needs, those used last, and the way to all others."""

    def __init__(self, store: Store, committer: Committer, limits: MemoryLimits = DEFAULT_MEMORY) -> None:
        """Know none, as before `start`; what is not in memory is read from `store`, through `committer`."""
        self._store = store
        self._committer = committer
        self._limit = limits.templates
        self._by_digest: dict[bytes, _Reference] = {}
        self._by_id: dict[int, _Reference] = {}
        self._bytes = 0
        self._bytes_of: dict[bytes, int] = {}  # by whoever had them brought into memory
        self._gone: deque[_Reference] = deque()
        """Filled by whatever thread lets the last one go, emptied here."""
        self._fresh: dict[int, Template] = {}
        self._refused: dict[int, Template] = {}  # the oldest first
        self._at_hand: dict[int, Template] = {}  # the least recently used one first
        self._at_hand_bytes = 0
        self._next_id = 1
        self._seen = SeenDigests()
        self.codes = CodeShelf()
        """The code of those used last."""
        self.leaving = LeavingTemplates()

    def start(self, seen: SeenDigests, next_id: int) -> None:
        """Take over what the database has: `seen` knows of all of them, the next one is `next_id`."""
        self._next_id, self._seen = next_id, seen

    # What is in memory.

    @property
    def next_id(self) -> int:
        """The number of the next new one."""
        return self._next_id

    def full(self, sender: bytes) -> bool:
        """Whether open runs hold so much that no further templates should come into memory for a sender.

        Who has brought in little may go on, or one that brings in much would keep all others from working.
        """
        self._settle()
        return self._bytes > self._limit and self._bytes_of.get(sender, 0) > FAIR_BYTES

    @property
    def in_memory(self) -> int:
        """How many there are."""
        self._settle()
        return len(self._by_id)

    def live(self, template_id: int) -> Template | None:
        """Return a template if it is in memory."""
        reference = self._by_id.get(template_id)
        return reference() if reference is not None else None

    def all_live(self, template_ids: Iterable[int]) -> dict[int, Template] | None:
        """Return some templates by number if all of them are in memory."""
        found = {}
        for template_id in template_ids:
            reference = self._by_id.get(template_id)
            template = reference() if reference is not None else None
            if template is None:
                return None
            found[template_id] = template
        if self.leaving.noting:
            self.leaving.used(found)
        return found

    def by_id(self, template_id: int) -> Template:
        """Return a template that somebody holds, which whoever asks has made sure of."""
        template = self.live(template_id)
        if template is None:
            raise KeyError(f"template {template_id} is not in memory")
        return template

    async def intern(
        self,
        definitions: Iterable[bytes],
        journal: Journal,
        where: str = "",
        sender: bytes = b"",
        most_bytes: int = sys.maxsize,
    ) -> Interned:
        """Return the templates with these contents, which `sender` needs; new ones are recorded.

        `where` the list is in the request, for whoever has to find the one that is refused. At most so many
        bytes of them are made at a time, and never more than `PART_BYTES`.

        Raises:
            InvalidRequest: One is malformed, or none that this release takes.
            TaskyardError: The database does not answer, or this process lost it.
        """
        interned: list[Template] = []
        at_hand: set[int] = set()
        new: set[int] = set()
        time, took = asyncio.get_running_loop().time, 0.0
        for part in _parts(definitions, min(most_bytes, PART_BYTES)):
            if interned:
                await asyncio.sleep(took)  # so that it is half of the time at most
            began = time()
            fetched = await self.fetched(part, (), sender)
            at_hand |= fetched.at_hand - new
            for definition in part:
                try:
                    template = self._intern(definition, journal, sender)
                except InvalidRequest as error:
                    raise error.inside(f"{where}[{len(interned)}]") from None
                new.add(template.template_id)
                interned.append(template)
            took = time() - began
        return Interned(interned, at_hand)

    def _intern(self, definition: bytes, journal: Journal, sender: bytes) -> Template:
        """Return a template that is recorded, or is recorded now.

        `fetched` has been asked for it just before, so one that is not in memory is in no database either.
        """
        digest = sha256(definition).digest()
        template = self._with(digest)
        if template is None:
            message = parsed_new(definition)
            template = self._keep(read_template(self._next_id, digest, definition, message), sender)
            self._next_id += 1
            self._fresh[template.template_id] = template
            self._seen.add(digest)
            journal.template(template)
            journal.counted(RECORD_BYTES)
        elif template.refusal is not None:
            raise template.refusal
        self._use(template)
        return template

    def committed(self, rows: Iterable[Sequence[object]]) -> None:
        """Note that templates are durable: they need not stay in memory any more."""
        for row in rows:
            self._fresh.pop(row[0], None)  # type: ignore[call-overload]  # a `TemplateRow`
        self._settle()

    def unstorable(self, template_id: int, why: str) -> None:
        """Note that a new template cannot be recorded: whoever sends it again is refused."""
        template = self._fresh.pop(template_id)
        template.refusal = InvalidRequest(f"it cannot be recorded: {why}")
        self._refused[template_id] = template
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]

    def _with(self, digest: bytes) -> Template | None:
        reference = self._by_digest.get(digest)
        return reference() if reference is not None else None

    def _keep(self, template: Template, sender: bytes = b"") -> Template:
        self._settle()
        reference = _Reference(template, self._gone.append)
        reference.sender = sender
        self._by_digest[template.digest] = self._by_id[template.template_id] = reference
        self._count(sender, reference.size)
        return template

    def _count(self, sender: bytes, size: int) -> None:
        self._bytes += size
        held = self._bytes_of.pop(sender, 0) + size
        if held:
            self._bytes_of[sender] = held

    def _settle(self) -> None:
        """Forget those that nobody holds any more."""
        while self._gone:
            reference = self._gone.popleft()
            self._count(reference.sender, -reference.size)
            if self._by_id.get(reference.template_id) is reference:
                del self._by_id[reference.template_id]
            if self._by_digest.get(reference.digest) is reference:
                del self._by_digest[reference.digest]

    def _use(self, template: Template) -> None:
        """Keep a template at hand, and those used longest ago no more."""
        at_hand = self._at_hand
        if at_hand.pop(template.template_id, None) is None:
            self._at_hand_bytes += _size_of(template)
        at_hand[template.template_id] = template
        while self._at_hand_bytes > AT_HAND_BYTES:
            self._at_hand_bytes -= _size_of(at_hand.pop(next(iter(at_hand))))

    def let_go(self, template_ids: Iterable[int]) -> list[int]:
        """Keep some templates at hand no more; returns the numbers of those that nobody holds."""
        for template_id in template_ids:
            if template_id in self._at_hand:
                self._at_hand_bytes -= _size_of(self._at_hand.pop(template_id))
        return [template_id for template_id in template_ids if self.live(template_id) is None]

    # What is in the database.

    async def fetched(self, definitions: Iterable[bytes], ids: Iterable[int], sender: bytes = b"") -> Fetched:
        """Return those of some templates that are recorded; read back, for a `sender`, if need be.

        Whoever asks goes on with what is returned before anything else happens: between two commits.

        Raises:
            TaskyardError: The database does not answer, or this process lost it.
        """
        found: dict[int, Template] = {}
        digests = {sha256(definition).digest() for definition in definitions}
        numbers = set(ids)
        missing = self._missing(digests, numbers, found)
        at_hand = frozenset(found)
        absent: set[bytes | int] = set()
        while not missing <= absent:  # others may have recorded one of them while it was read
            await self._read(missing, found, sender)
            absent = missing
            missing = self._missing(digests, numbers, found)
        if self.leaving.noting:
            self.leaving.used(found)
        return Fetched(found, at_hand)

    def _missing(
        self, digests: set[bytes], numbers: set[int], found: dict[int, Template]
    ) -> set[bytes | int]:
        """Add those of some templates that are in memory to `found`; returns those that may be stored."""
        missing: set[bytes | int] = set()
        for digest in digests:
            template = self._with(digest)
            if template is not None:
                found[template.template_id] = template
            elif digest in self._seen:
                missing.add(digest)
        for number in numbers:
            template = self.live(number)
            if template is not None:
                found[number] = template
            else:
                missing.add(number)
        return missing

    async def _read(self, missing: set[bytes | int], found: dict[int, Template], sender: bytes) -> None:
        digests = [each for each in missing if isinstance(each, bytes)]
        numbers = [each for each in missing if isinstance(each, int)]
        rows = await self._committer.run(lambda: self._store.templates(numbers, digests))
        while await self.leaving.had_to_wait(row.template_id for row in rows):
            rows = await self._committer.run(lambda: self._store.templates(numbers, digests))
        for row in rows:
            template = found[row.template_id] = self._take(row, sender)
            self._use(template)

    def beside(self, rows: list[RunHead]) -> Beside:
        """Read, for rows of open runs, what is not in memory of their templates.

        Part of the job that read the rows, on the writer's thread: so what is found in memory is held until
        `take` has seen it.
        """
        numbers = {row.template_id for row in rows if row.state < FIRST_FINAL}
        held = [template for template in map(self.live, numbers) if template is not None]
        missing = numbers - {template.template_id for template in held}
        return Beside(rows, held, self._store.templates(sorted(missing)) if missing else [])

    def take(self, beside: Beside) -> FoundRuns:
        """Return the rows that a job has read, with the templates of those that are open."""
        rows = FoundRuns(beside.rows)
        rows.templates = [*beside.held, *map(self._take, beside.read)]
        return rows

    def encoding_of(self, result: CachedResult) -> str:
        """Return in which encoding a result from the cache is, if it is bare."""
        template = self.live(result.template_id)
        return template.result_encoding if template is not None else encoding_in(result.definition or b"")

    def _take(self, row: TemplateRow, sender: bytes = b"") -> Template:
        """Return the template of a row; somebody may have brought it into memory meanwhile."""
        template = self.live(row.template_id)
        if template is None:
            template = self._keep(read_stored(row), sender)
        return template


def _parts(definitions: Iterable[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """Cut contents into as many as are made at a time."""
    part, size = list[bytes](), 0
    for definition in definitions:
        if part and (len(part) >= PART or size + len(definition) > most_bytes):
            yield part
            part, size = [], 0
        part.append(definition)
        size += len(definition)
    if part:
        yield part
