"""Submissions that belong to no session: unary calls, of which each run is answered for itself."""

from collections.abc import Sequence

from taskyard_api.v1 import common_pb2, run_service_pb2, session_service_pb2
from taskyard_contract.errors import RunExists, TaskyardError
from taskyard_contract.ids import format_id
from taskyard_controlplane.domain.memory import Kept
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.refused_runs import refused_run
from taskyard_controlplane.owner.queueing.checks import check_blobs, check_new_runs, submitted_before
from taskyard_controlplane.owner.queueing.headers import pack_headers
from taskyard_controlplane.owner.rules.labels import label_of
from taskyard_controlplane.owner.serving.terms import Terms
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import StoredRun


class UnownedRuns:
    """Takes runs without a session."""

    def __init__(self, shard: Shard, terms: Terms) -> None:
        """Submit to `shard`, on the server's `terms`."""
        self._terms = terms
        self._runs = shard.book.runs
        self._committer = shard.committer
        self._stored = shard.stored
        self._submission = shard.submission

    async def submit(
        self, runs: Sequence[run_service_pb2.NewRun], blobs: Sequence[common_pb2.InlineBlob]
    ) -> list[session_service_pb2.RefusedRun]:
        """Record runs; returns those refused, once the others are durable.

        Raises:
            InvalidRequest, PayloadTooLarge, DigestMismatch: It is malformed; nothing was recorded.
            StorageFull: The database had no room; nothing was recorded.
            Overloaded: Too much waits to be committed; nothing was recorded.
        """
        check_new_runs(runs, self._terms.max_inline_bytes, self._terms.max_payload_bytes)
        headers = [pack_headers(new.headers, f"runs[{place}].headers") for place, new in enumerate(runs)]
        overload = self._submission.ceilings.overload()
        if overload is not None:
            raise overload
        await check_blobs(blobs, self._terms.max_payload_bytes)
        known = await self._known([new.run_id for new in runs])
        gone = await self._stored.gone_among([new.run_id for new in runs if new.run_id not in known])
        stored_args = await self._stored_args(known, [new.run_id for new in runs])
        # All of them before the first run is added: a malformed one must leave nothing behind.
        templates, at_hand = await self._submission.intern((new.template for new in runs), "runs")
        for template in templates:
            overload = self._submission.ceilings.refused_template(template, at_hand)
            if overload is not None:
                raise overload
        commit = self._committer.open
        self._submission.keep_blobs(blobs, templates)
        self._submission.counted([*(new.args.data for new in runs), *filter(None, headers)])
        errors = {
            new.run_id: submitted_before(new.run_id)
            if new.run_id in gone
            else self._add(
                new, template, packed, known.get(new.run_id) or self._runs.get(new.run_id), stored_args
            )
            for new, template, packed in zip(runs, templates, headers, strict=True)
        }
        await self._committer.durable()
        if commit.refused is not None:
            raise commit.refused
        if commit.duplicates:  # another call was faster
            known = await self._known([new.run_id for new in runs if new.run_id in commit.duplicates])
            errors |= {
                new.run_id: _conflict(new, template, known[new.run_id], {})
                for new, template in zip(runs, templates, strict=True)
                if new.run_id in known
            }
        errors |= {run_id: error for run_id, error in commit.unstorable.items() if run_id in errors}
        return [refused_run(run_id, error) for run_id, error in errors.items() if error is not None]

    async def _known(self, run_ids: list[bytes]) -> dict[bytes, StoredRun | Run]:
        """Return what there is of some runs that are not in memory."""
        rows = await self._stored.rows([run_id for run_id in run_ids if run_id not in self._runs])
        return {row.run_id: row for row in rows}

    async def _stored_args(
        self, known: dict[bytes, StoredRun | Run], run_ids: list[bytes]
    ) -> dict[int, bytes]:
        """Return the arguments of those of some runs in memory that do not have theirs there."""
        found: dict[int, bytes] = {}
        while True:  # more of them may leave memory while some are read
            existing = [self._runs.get(run_id) for run_id in run_ids if run_id not in known]
            seqs = [run.seq for run in existing if run is not None and isinstance(run.args, int)]
            missing = [seq for seq in seqs if seq not in found]
            if not missing:
                return found
            found |= dict.fromkeys(missing, b"") | await self._stored.args_of(missing)

    def _add(
        self,
        new: run_service_pb2.NewRun,
        template: Template,
        headers: bytes | None,
        existing: StoredRun | Run | None,
        stored_args: dict[int, bytes],
    ) -> TaskyardError | None:
        if existing is not None:
            return _conflict(new, template, existing, stored_args)
        if template.refusal is not None:
            return template.refusal
        extra = session_service_pb2.RunExtra(name=new.name or template.name)
        if new.HasField("args"):
            extra.payload.CopyFrom(new.args)
        self._submission.add(
            None, template, None, new.run_id, new.args.data, 0,
            cache_key=new.cache_key or None,
            edges=[(edge.run_id, int(edge.kind)) for edge in new.upstream] or None,
            extra=extra,
            headers=headers,
        )  # fmt: skip
        return None


def _conflict(
    new: run_service_pb2.NewRun,
    template: Template,
    existing: StoredRun | Run,
    stored_args: dict[int, bytes],
) -> TaskyardError | None:
    """Say why a run cannot be recorded beside one with the same id; None when it is the same run."""
    args: Kept = existing.args or b""
    if isinstance(args, int):
        args = stored_args[existing.seq]
    known_template = existing.template.template_id if isinstance(existing, Run) else existing.template_id
    if known_template != template.template_id:
        what = "of another task, or with other options"
    elif args != new.args.data or not _same_label(new.args, existing.args_blob, template.encoding):
        what = "with other arguments"
    elif (existing.name or template.name) != (new.name or template.name):
        what = "under another name"
    else:
        return None  # a repeated call
    return RunExists(f"run {format_id(new.run_id)} was submitted before {what}", run_id=new.run_id)


def _same_label(args: common_pb2.Payload, label: bytes | None, encoding: str) -> bool:
    """Whether what was kept of arguments beside their bytes is what would be kept of these."""
    known = common_pb2.Payload.FromString(label or b"")
    known.encoding = known.encoding or encoding  # rows of release 0.1.0 have none
    told = common_pb2.Payload.FromString(label_of(args, encoding) or b"")
    told.encoding = told.encoding or encoding
    return told == known
