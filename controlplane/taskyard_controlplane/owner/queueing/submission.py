"""New runs, from frames to records and rows.

Groups without edges, keys or extras take a path with a fixed handful of steps per run; everything else goes
run by run.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count, repeat
from typing import Final

from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.clock import Clock
from taskyard_contract.errors import (
    Overloaded,
    TaskyardError,
)
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.domain.admission import (
    Wait,
    first_gate,
    waits_in_backlog,
    waits_of,
    waits_of_template,
)
from taskyard_controlplane.domain.cache_keys import storable
from taskyard_controlplane.domain.edges import Edge, awaited, pack_edges
from taskyard_controlplane.domain.memory import ALWAYS_KEPT
from taskyard_controlplane.domain.model import SESSION, Run, Template
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.templates import Interned, Templates
from taskyard_controlplane.owner.journal.watchers import Watchers
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.needed_runs import NeededRuns
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.backlog import Backlog
from taskyard_controlplane.owner.queueing.ceilings import RETRY_SECONDS, Ceilings
from taskyard_controlplane.owner.queueing.checks import check_group, large_blob, submitted_before, too_large
from taskyard_controlplane.owner.queueing.new_groups import (
    WHOLE,
    Filling,
    Needed,
    NewGroup,
    NewRuns,
    Portion,
    args_label,
)
from taskyard_controlplane.owner.queueing.parking import Parking
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.authority import refusal_into

ADMITTED: Final = int(first_gate(Wait.NOTHING).state)

DEFINED_PART: Final = 8
"""Of a portion, what is made of templates at a time: one part in so many."""
MAX_TEMPLATES: Final = 50_000
"""Of one stream: some 5 MB. Whoever connects again sends only those that are still used."""


class Submission:
    """Makes records and rows of new runs, and brings them to the gates."""

    def __init__(
        self,
        book: RunBook,
        watchers: Watchers,
        journal: Journal,
        templates: Templates,
        admission: Admission,
        backlog: Backlog,
        parking: Parking,
        clock: Clock,
        metrics: Metrics,
        succession: Succession,
        max_inline_bytes: int,
        max_payload_bytes: int,
        max_uncommitted_bytes: int,
        needed: NeededRuns,
    ) -> None:
        """Add runs to `book`, which begin as the `succession` says."""
        self._needed = needed
        self._book = book
        self._runs = book.runs
        self._watchers = watchers
        self._journal = journal
        self._templates = templates
        self._admission = admission
        self._backlog = backlog
        self._parking = parking
        self._clock = clock
        self._metrics = metrics
        self.next_seq = succession.first_seq
        self._first_epoch = succession.first_epoch
        self.max_inline_bytes = max_inline_bytes
        self.max_payload_bytes = max_payload_bytes
        self.ceilings = Ceilings(journal, templates, max_uncommitted_bytes)

    async def needed_by(
        self, session: ClientSession, batch: pb.SubmitBatch, portion: Portion = WHOLE
    ) -> Needed:
        """Return the templates of a batch: new ones are recorded, others may have to be read back.

        How many new ones are made at a time is a part of a `portion`.

        Raises:
            InvalidRequest: A template is malformed.
            Overloaded: The stream has sent too many templates; another one may send those still needed.
            StorageUnavailable: The database does not answer.
        """
        if len(session.templates) + len(batch.templates) > MAX_TEMPLATES:
            text = f"a client has sent more than {MAX_TEMPLATES:,} templates on one stream; connect again"
            raise Overloaded(text, limit=MAX_TEMPLATES, retry_after=RETRY_SECONDS, field="submit.templates")
        known = [session.templates[it.template] for it in batch.groups if it.template in session.templates]
        live = self._templates.all_live(known)
        if live is not None and not batch.templates:  # mostly
            return Needed({}, live, live.keys())
        sender = session.session_id
        fetched = await self._templates.fetched((), known, sender)
        new = (definition.template for definition in batch.templates)
        interned = await self._intern(new, "submit.templates", sender, portion)
        indices = [definition.index for definition in batch.templates]
        numbered = {template.template_id: template for template in interned.templates}
        return Needed(
            dict(zip(indices, interned.templates, strict=True)),
            {**fetched.templates, **numbered},
            fetched.at_hand | interned.at_hand,
        )

    async def intern(self, templates: Iterable[template_pb2.RunTemplate], where: str) -> Interned:
        """Return some templates, which nobody in particular needs; new ones are recorded.

        `where` they are in the request, for whoever has to find the one that is refused.

        Raises:
            InvalidRequest: One is malformed.
            StorageUnavailable: The database does not answer.
        """
        return await self._intern(templates, where, b"", WHOLE)

    async def _intern(
        self, templates: Iterable[template_pb2.RunTemplate], where: str, sender: bytes, portion: Portion
    ) -> Interned:
        # One after the other, as they are taken: together they may be as large as the frame.
        definitions = (template.SerializeToString(deterministic=True) for template in templates)
        most_bytes = portion.size // DEFINED_PART
        return await self._templates.intern(definitions, self._journal, where, sender, most_bytes)

    def submit(
        self,
        session: ClientSession,
        batch: pb.SubmitBatch,
        needed: Needed,
        known: frozenset[bytes] = frozenset(),
        portion: Portion = WHOLE,
    ) -> Iterator[None]:
        """Add the runs of a batch, except those whose ids are in `known`; acknowledged with the last commit.

        `needed` is what `needed_by` has returned for the batch. To be iterated over to the end: what there is
        beyond one `portion` goes into later commits, and whoever iterates waits for one each time.

        Raises:
            InvalidRequest: The batch is malformed; the client has a defect.
        """
        if needed.sent:
            session.templates.update((index, its.template_id) for index, its in needed.sent.items())
            session.sent_templates.add(its.template_id for its in needed.sent.values())
        groups = self._checked(session, batch, needed)  # all before the first run is added
        filling = Filling(portion)
        codes = {template.code_digest for template in needed.templates.values()} if batch.blobs else ()
        for blob in batch.blobs:
            data = blob.data
            if filling.is_full(0, len(data)):
                yield
            self._keep_blob(blob.digest, data, codes)
        for group in groups:
            for runs in group.cut(portion):
                if filling.is_full(len(runs.run_ids), runs.size):
                    yield
                self._add(session, runs, needed, known)
        self._journal.accepted(session, batch.number)

    def _checked(self, session: ClientSession, batch: pb.SubmitBatch, needed: Needed) -> list[NewGroup]:
        groups = []
        for group in batch.groups:
            run_ids = list(group.run_ids)
            template = needed.templates.get(session.templates.get(group.template, 0))
            groups.append(NewGroup(group, check_group(group, run_ids, template), run_ids))
        return groups

    def keep_blobs(self, blobs: Iterable[common_pb2.InlineBlob], templates: Iterable[Template]) -> None:
        """Store small blobs, which `check_blobs` has checked, with the open commit."""
        codes = {template.code_digest for template in templates}
        for blob in blobs:
            self._keep_blob(blob.digest, blob.data, codes)

    def _keep_blob(self, digest: bytes, data: bytes, codes: Collection[bytes]) -> None:
        self._journal.blob(digest, data)
        if digest in codes:
            self._templates.codes.keep(digest, data)

    def _add(self, session: ClientSession, runs: NewRuns, needed: Needed, known: frozenset[bytes]) -> None:
        group, template, run_ids = runs.group.message, runs.group.template, runs.run_ids
        refusal = (
            template.refusal
            or self._refusal(session, group, needed)
            or self.ceilings.refused_template(template, needed.at_hand, session.session_id)
        )
        flow = self._runs.get(group.flow_run_id) if group.flow_run_id else None
        if refusal is not None:
            refused = [run_id for run_id in run_ids if run_id not in known]
            for run_id in refused:
                session.refuse(run_id, submitted_before(run_id) if run_id in self._runs else refusal)
            self._metrics.refused_runs += len(refused)
            session.wake()
            return
        self._journal.counted(runs.size)
        if session.postponed:
            for run_id in run_ids:
                session.postponed.pop(run_id, None)
        if (
            not waits_of_template(template)
            and run_ids
            and not (known or group.upstream_ids or group.cache_keys or group.extras or group.caller_run_id)
            and not group.outlives_session
            and runs.longest <= self.max_inline_bytes
            and self._runs.keys().isdisjoint(run_ids)
        ):
            self._plain(session, runs, flow)
        else:
            self._careful(session, runs, flow, known)

    def counted(self, args: Iterable[bytes]) -> None:
        """Count the arguments of runs that are about to be added."""
        self._journal.counted(sum(map(len, args)))

    def _refusal(self, session: ClientSession, group: pb.RunGroup, needed: Needed) -> TaskyardError | None:
        overload = self.ceilings.overload()
        if overload is not None:
            return overload
        if session.postponed and not session.postponed.keys().isdisjoint(
            [group.flow_run_id, *group.upstream_ids]
        ):
            # What it needs was refused for now, and is about to come once more.
            return Overloaded(
                "a run that this one needs was not accepted yet; repeat later", retry_after=RETRY_SECONDS
            )
        if self._journal.full is not None:
            return self._journal.full
        if not group.flow_run_id:
            return None
        # A worker goes on with its session in the next run it executes, and names that as the caller.
        flow = self._runs.get(group.flow_run_id)
        caller = needed.callers.get(group.caller_run_id or session.caller_run_id)
        return refusal_into(session, group.flow_run_id, flow, caller)

    def _plain(self, session: ClientSession, runs: NewRuns, flow: Run | None) -> None:
        # Every run here is admitted like any other, with no reason to wait; that is one answer for the whole
        # group. And this runs once for every run there is: rows are made in place, and the lists of the open
        # commit are taken once. Asking and writing for each of them would double the cost.
        commit, now_us, first = self._journal.open, self._clock.now_us(), self.next_seq
        template, run_ids, args = runs.group.template, runs.run_ids, runs.args
        kind, template_id, session_id = template.kind, template.template_id, session.session_id
        flow_seq, headers = flow.seq if flow is not None else None, runs.group.headers
        seqs, shift = range(first, first + len(run_ids)), runs.first_ordinal - first
        epoch = self._first_epoch
        each_args = args or repeat(None)
        commit.rows.new_runs += [  # `rows.new_row`
            (seq, run_id, kind, ADMITTED, flow_seq, None, session_id, template_id, seq + shift,
             None, arg, None, None, None, now_us, headers)
            for seq, run_id, arg in zip(seqs, run_ids, each_args, strict=False)
        ]  # fmt: skip
        if self._backlog.admits(template, session, len(run_ids)):
            self._backlog.add(template, session, seqs)
            session.may_be_in_backlog = True
        else:
            new = [
                Run(seq, run_id, template, ADMITTED, flow, session, arg, seq + shift, now_us, epoch)
                for seq, run_id, arg in zip(seqs, run_ids, each_args, strict=False)
            ]
            self._book.add_alike(run_ids, new)
            if headers is not None:
                share = -(-len(headers) // len(new))  # they are in memory once
                for run in new:
                    run.headers = headers
                    self._book.ledger.count(run, share)
            commit.submitted += new
            if runs.longest > ALWAYS_KEPT:
                for run in new:
                    self._book.ledger.hold(run)
        self.next_seq = seqs.stop
        self._metrics.submitted_runs += len(run_ids)

    def _careful(
        self, session: ClientSession, runs: NewRuns, flow: Run | None, known: frozenset[bytes]
    ) -> None:
        group, template, edges, extras = runs.group.message, runs.group.template, *runs.group.by_position
        keys, now_us, args = group.cache_keys, self._clock.now_us(), runs.args or repeat(None)
        owner = None if group.outlives_session else session
        for position, run_id, arg in zip(count(runs.first), runs.run_ids, args, strict=False):
            if run_id in known:
                continue
            if run_id in self._runs:
                session.refuse(run_id, submitted_before(run_id))
                session.wake()
                continue
            extra = extras.get(position)
            if extra is not None and extra.payload.data:
                arg = extra.payload.data
            if arg is not None and len(arg) > self.max_inline_bytes:
                self._refuse_large(session, run_id, template, len(arg))
                continue
            refusal = large_blob(extra, self.max_payload_bytes, run_id) if extra is not None else None
            if refusal is not None:
                session.refuse(run_id, refusal)
                session.wake()
                continue
            if owner is None:
                self._journal.open.unowned[run_id] = session
            self.add(
                owner, template, flow, run_id, arg, group.first_ordinal + position,
                caller_id=group.caller_run_id or None,
                cache_key=(keys[position] or None) if keys else None,
                edges=edges.get(position),
                extra=extra,
                headers=runs.group.headers,
                now_us=now_us,
            )  # fmt: skip

    def _refuse_large(self, session: ClientSession, run_id: bytes, template: Template, size: int) -> None:
        what = f"the arguments of a run of '{template.name}'"
        session.refuse(run_id, too_large(run_id, what, size, self.max_inline_bytes))
        session.wake()

    def add(
        self,
        session: ClientSession | None,
        template: Template,
        flow: Run | None,
        run_id: bytes,
        args: bytes | None,
        ordinal: int,
        *,
        caller_id: bytes | None = None,
        cache_key: str | None = None,
        edges: list[tuple[bytes, int]] | None = None,
        extra: pb.RunExtra | None = None,
        headers: bytes | None = None,
        now_us: int = 0,
    ) -> None:
        """Add one run with all it may have; `now_us` is the time, 0 for asking the clock."""
        now_us = now_us or self._clock.now_us()
        run = Run(
            self.next_seq, run_id, template, ADMITTED, flow, session, args, ordinal, now_us, self._first_epoch
        )
        self.next_seq += 1
        self._metrics.submitted_runs += 1
        run.caller_id, run.cache_key = caller_id, storable(cache_key) if cache_key else None
        run.headers = headers
        if extra is not None:
            run.name = bounded(extra.name, NAME_LIMIT) or None
            run.args_blob = args_label(extra, template.encoding)
        if edges and self._needed.noting:
            self._needed.note(upstream_id for upstream_id, _ in edges)
        waited_for: Sequence[Edge] = ()
        if edges and template.executor != SESSION and awaited(edges):
            waited_for = edges
        elif edges:
            run.upstream = pack_edges(edges)  # for the record: sessions wait for those of flow runs
        waits = waits_of(run, upstream=bool(waited_for))
        if self._leave_in_database(run, waits, waited_for):
            if session is not None:
                session.may_be_in_backlog = True
            return
        self._admission.enter(run, waits, waited_for)
        self._book.add(run)
        self._journal.submitted(run)
        self._book.ledger.hold(run)  # its row has the arguments until they are durable

    def _leave_in_database(self, run: Run, waits: int, edges: Sequence[Edge]) -> bool:
        """Leave of a new run nothing but its row, when there are many before it."""
        if (
            waits_in_backlog(waits)
            and not run.caller_id
            and self._backlog.admits(run.template, run.session, 1)
        ):
            # It waits for nothing that its turn would not be early enough for.
            self._journal.queued(run)
            self._backlog.add(run.template, run.session, range(run.seq, run.seq + 1))
            return True
        return bool(edges) and self._parking.parks(run, waits, edges)
