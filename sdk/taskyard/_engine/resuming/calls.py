"""What the body of a flow run has called in its earlier attempts, as the control plane has recorded it.

Calls are found by their task and by the digest of what they were called with; of calls that are alike, the
one that was made first is found first, unless its task had other code then.
"""

from collections import deque
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Final, NamedTuple

from taskyard._data.identity.program_code import qualified_name
from taskyard._data.values.hashing import task_key
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.submission.templates import code_fingerprint_of
from taskyard_api.v1 import run_service_pb2, template_pb2
from taskyard_contract.encodings import JSON
from taskyard_contract.states import FIRST_FINAL, RunState

MAIN: Final = "__main__"
Key = tuple[str, bytes]
"""Of a task, and the digest of a call of it."""
Alike = dict[bytes, deque["Earlier"]]
"""Runs of the same call, by the fingerprint of the code that they had, oldest first."""


class Earlier(NamedTuple):
    """A run that an earlier attempt has made."""

    run_id: bytes
    state: int
    ordinal: int
    template: template_pb2.RunTemplate
    digest: bytes

    @property
    def in_threads(self) -> bool:
        """Whether its program executed it itself, and recorded no arguments."""
        return bool(self.template.code.task_name) and self.template.encoding != JSON

    def was_changed(self, fingerprint: bytes) -> bool:
        """Whether its code was another one, as far as that is known of both."""
        return _differ(self.template.code_fingerprint, fingerprint)


class EarlierCalls:
    """The calls of earlier attempts, each taken once. Not thread-safe."""

    def __init__(self, pages: Iterable[run_service_pb2.ListCallsResponse]) -> None:
        """Take in what the control plane has listed."""
        self._completed: dict[Key, Alike] = {}
        self._others: dict[Key, Alike] = {}
        self._left: dict[str, dict[bytes, Earlier]] = {}
        self._recorded: dict[str, int] = {}
        self.next_ordinals: dict[str, int] = {}
        """By task, the number that its next run gets."""
        self.completed = 0
        """How many have completed."""
        for page in pages:
            columns = (page.run_ids, page.template_indices, page.states, page.digests, page.ordinals)
            for run_id, index, state, digest, ordinal in zip(*columns, strict=True):
                self._add(Earlier(run_id, int(state), ordinal, page.templates[index], digest))

    def _add(self, call: Earlier) -> None:
        task = call.template.task_key
        self.next_ordinals[task] = max(self.next_ordinals.get(task, 0), call.ordinal + 1)
        self._recorded[task] = self._recorded.get(task, 0) + 1
        self._left.setdefault(task, {})[call.run_id] = call
        self.completed += call.state == RunState.COMPLETED
        if not call.in_threads:
            has_value = call.state == RunState.COMPLETED and not call.template.in_transaction
            where = self._completed if has_value else self._others
            alike = where.setdefault((task, call.digest), {})
            alike.setdefault(call.template.code_fingerprint, deque()).append(call)

    def completed_like(
        self,
        keys: Iterable[str],
        digest: bytes,
        fingerprint: bytes,
        *,
        unchanged: bool,
        named_alike: bool = False,
    ) -> Earlier | None:
        """Take the run of a call that has completed; None if there is none.

        Args:
            keys: Those that its task has, or had.
            digest: Of the call.
            fingerprint: Of the task's code now.
            unchanged: Whether only a run of the same code will do.
            named_alike: Whether others may have the same name, so that only their code tells them apart.
        """
        for task in keys:
            alike = self._completed.get((task, digest))
            if not alike:
                continue
            if named_alike:
                found = alike.get(fingerprint) if fingerprint else None
            else:
                same = (runs for code, runs in alike.items() if not _differ(code, fingerprint))
                found = _oldest(same) or (None if unchanged else _oldest(alike.values()))
            if found:
                return self._take(task, found)
        return None

    def other_like(self, keys: Iterable[str], digest: bytes) -> Earlier | None:
        """Take a run of the same call that is not reused: it has not completed, or its code was changed."""
        for task in keys:
            for where in (self._completed, self._others):
                found = _oldest(where.get((task, digest), {}).values())
                if found:
                    return self._take(task, found)
        return None

    def _take(self, task: str, found: deque[Earlier]) -> Earlier:
        call = found.popleft()
        self._left[task].pop(call.run_id, None)
        return call

    def unlike(self, keys: Iterable[str]) -> Earlier | None:
        """Take the first run of a task that nothing was found to be like."""
        for task in keys:
            left = self._left.get(task)
            if left:
                return left.pop(next(iter(left)))
        return None

    def has_lost_some(self, keys: Iterable[str]) -> bool:
        """Whether runs of a task are not recorded any more: their numbers are missing."""
        return any(self.next_ordinals.get(task, 0) > self._recorded.get(task, 0) for task in keys)


def keys_of(task: TaskDefinition[..., Any] | FlowDefinition[..., Any]) -> tuple[str, ...]:
    """Return the keys under which runs of a task, or of a flow, may be recorded.

    What is loaded from a file is in a module of another name than when that file is the program itself.
    """
    if isinstance(task, TaskDefinition):
        own, tags = task.task_key, task.settings.tags
    else:
        own, tags = task.flow_key, frozenset()
    if qualified_name(task.fn).startswith(f"{MAIN}."):
        return (own,)
    return own, task_key(task.settings.name, task.fn, tags, module=MAIN)


def is_named_alike(fn: object) -> bool:
    """Whether other functions can have the name of this one: what is made in a function, or holds values."""
    return not isinstance(fn, FunctionType) or "<" in fn.__qualname__


def _differ(recorded: bytes, fingerprint: bytes) -> bool:
    return bool(recorded and fingerprint) and recorded != fingerprint


def _oldest(runs: Iterable[deque[Earlier]]) -> deque[Earlier] | None:
    """Return those of some runs of the same call of which the first was made before all others."""
    return min(filter(None, runs), key=lambda some: some[0].ordinal, default=None)


def has_ended(call: Earlier) -> bool:
    """Whether a run had ended when it was listed."""
    return call.state >= FIRST_FINAL


Fingerprints = Callable[[Any], bytes]


def fingerprints() -> Fingerprints:
    """Return what makes fingerprints of the code of tasks, of each once."""
    known: dict[int, tuple[Any, bytes]] = {}  # what is called may have no hash, and is kept for its identity

    def of(fn: Any) -> bytes:
        if id(fn) not in known:
            known[id(fn)] = fn, code_fingerprint_of(fn)
        return known[id(fn)][1]

    return of
