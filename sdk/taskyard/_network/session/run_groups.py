"""Runs that follow each other with the same template, from the same place: one group on the wire.

A group is the unit in which runs travel: it becomes one message without touching its runs again, which
is why submitting a run costs an append to a list or two. Numbers of its runs (ordinals) are consecutive.
"""

from collections.abc import Mapping
from typing import Final

from taskyard._data.values.headers import NO_HEADERS
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb

Upstream = dict[bytes, int]
"""Ids of upstream runs, and what each is to the run (`UpstreamKind`)."""

_RUN_BYTES: Final = 32
"""About what a run takes in a frame besides its arguments: id, position, lengths."""
_UPSTREAM_BYTES: Final = 24
"""At most what one upstream run takes: id, its length, position, kind."""
MOST_UPSTREAM: Final = 400_000
"""How many upstream runs one run may have: a run is never divided, and a frame takes 16 MB."""


class GroupKey:
    """What the runs of a group have in common. Compared by identity, once for each run that is submitted."""

    __slots__ = ("caller_run_id", "flow_run_id", "headers", "outlives_session", "size", "template")

    def __init__(
        self,
        template: Template,
        flow_run_id: bytes,
        caller_run_id: bytes,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        outlives_session: bool = False,
    ) -> None:
        """Describe runs of a template that are made inside a flow run, by the run of a task in it or not.

        Those that outlive their session are in no flow run, and belong to nobody.
        """
        self.template = template
        self.flow_run_id = flow_run_id
        self.caller_run_id = caller_run_id
        self.headers = headers
        self.outlives_session = outlives_session
        self.size = sum(map(len, (*headers, *headers.values()))) if headers else 0
        """About how many bytes it adds to a frame with each group."""


class RunGroup:
    """Runs on their way to the control plane, as columns."""

    __slots__ = ("args", "cache_keys", "extras", "first_ordinal", "key", "run_ids", "size", "upstream")

    def __init__(self, key: GroupKey, first_ordinal: int) -> None:
        """Begin a group; its first run gets this number among the runs of its task in its flow run."""
        self.key = key
        self.first_ordinal = first_ordinal
        self.run_ids: list[bytes] = []
        self.args: list[bytes] = []
        self.cache_keys: list[str] | None = None
        self.upstream: list[tuple[int, bytes, int]] = []
        self.extras: list[pb.RunExtra] = []
        self.size = key.size

    def add(
        self,
        run_id: bytes,
        args: bytes,
        upstream: Upstream | None,
        cache_key: str | None,
        extra: pb.RunExtra | None,
    ) -> None:
        """Append one run with all it has; columns that most groups do not need begin with the first entry."""
        position = len(self.run_ids)
        self.run_ids.append(run_id)
        self.args.append(args)
        self.size += len(args) + _RUN_BYTES
        if upstream:
            self.upstream.extend([(position, upstream_id, kind) for upstream_id, kind in upstream.items()])
            self.size += len(upstream) * _UPSTREAM_BYTES
        if cache_key is not None or self.cache_keys is not None:
            self._add_cache_key(position, cache_key or "")
        if extra is not None:
            extra.position = position
            self.extras.append(extra)
            self.size += extra.ByteSize()

    def add_plain(self, run_id: bytes, args: bytes) -> None:
        """Append one run that has nothing but arguments: `add` without its tests, for children of a map."""
        self.run_ids.append(run_id)
        self.args.append(args)
        self.size += len(args) + _RUN_BYTES

    def _add_cache_key(self, position: int, cache_key: str) -> None:
        if self.cache_keys is None:
            self.cache_keys = [""] * position
        self.cache_keys.append(cache_key)
        self.size += 4 * len(cache_key)  # a character takes at most four bytes

    def names(self, task_name: str) -> list[str]:
        """Return the names of its runs, as they are shown; for people, so it may take a while."""
        names = [f"{task_name}-{self.first_ordinal + position}" for position in range(len(self.run_ids))]
        for extra in self.extras:
            names[extra.position] = extra.name or names[extra.position]
        return names

    def to_message(self, index: int) -> pb.RunGroup:
        """Write the group as a message that names its template by `index`."""
        group = pb.RunGroup(
            template=index,
            flow_run_id=self.key.flow_run_id,
            caller_run_id=self.key.caller_run_id,
            run_ids=self.run_ids,
            first_ordinal=self.first_ordinal,
            outlives_session=self.key.outlives_session,
        )
        if self.key.headers:
            group.headers.update(self.key.headers)
        if any(self.args):
            group.args.extend(self.args)
        if self.cache_keys is not None:
            group.cache_keys.extend(self.cache_keys)
        if self.upstream:
            positions, ids, kinds = zip(*self.upstream, strict=True)
            group.upstream_positions.extend(positions)
            group.upstream_ids.extend(ids)
            group.upstream_kinds.extend(kinds)
        if self.extras:
            group.extras.extend(self.extras)
        return group

    def parts_with(self, run_ids: set[bytes]) -> "list[RunGroup]":
        """Return groups that hold only those runs of this one that are in `run_ids`."""
        parts: list[RunGroup] = []
        upstream: dict[int, Upstream] = {}
        for position, upstream_id, kind in self.upstream:
            upstream.setdefault(position, {})[upstream_id] = kind
        extras = {extra.position: extra for extra in self.extras}
        for position, run_id in enumerate(self.run_ids):
            if run_id not in run_ids:
                continue
            ordinal = self.first_ordinal + position
            if not parts or parts[-1].first_ordinal + len(parts[-1].run_ids) != ordinal:
                parts.append(RunGroup(self.key, ordinal))
            cache_key = self.cache_keys[position] if self.cache_keys is not None else None
            parts[-1].add(
                run_id, self.args[position], upstream.get(position), cache_key, _copy(extras.get(position))
            )
        return parts


def _copy(extra: pb.RunExtra | None) -> pb.RunExtra | None:
    """Copy a message whose position will differ in another group."""
    if extra is None:
        return None
    copied = pb.RunExtra()
    copied.CopyFrom(extra)
    return copied
