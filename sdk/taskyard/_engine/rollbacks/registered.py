"""Hooks `on_rollback`, registered as runs by the process of their flow run.

All hooks of an outermost transaction hang on one run, the head, which waits for the flow run to end otherwise
than by completing. The run of each hook waits for the head to complete, for the task run whose work it undoes
to end, and for the run of the hook that is called before it: that of the task run called next, whose id is
chosen ahead, because it is submitted later or never. So agents call the hooks in the reverse order of the
calls. There is one decision, which is the control plane's: the head is cancelled, then the transaction has
committed or was rolled back here, and every hook ends with it; or the head completes, then agents roll back.

When what hooks are called with changes, or their order, all are registered again, under a head that waits for
the former one not to complete. What was registered is never changed, and at each moment one head decides.

Invariant: runs are registered in the stream of the session, before the runs whose work they undo. What is
taken back is durable when the call returns.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from taskyard import _durable_names
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.rollbacks.facts import all_around, facts_of, with_shared
from taskyard._engine.submission.arguments import offload, pack_large
from taskyard._engine.submission.large_values import LargeValues, refs_in
from taskyard._engine.submission.large_values import names_in as stored_names
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.templates import group_of
from taskyard._engine.transactions.base import BaseTransaction
from taskyard._engine.transactions.hooks import name_of
from taskyard._engine.transactions.kept import KeptTransaction
from taskyard._engine.transactions.task_runs import RunTransaction
from taskyard._engine.world.announcing import outlive
from taskyard._network.session.outbox import BYTES_PER_FRAME, RUNS_PER_FRAME
from taskyard._network.session.run_groups import GroupKey, RunGroup, Upstream
from taskyard.cache_policies import NO_CACHE
from taskyard.exceptions import NotPicklable, PayloadTooLarge, RunNotFound
from taskyard.logging import get_logger
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.capabilities import ROLLBACKS
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.pickling import names_in
from taskyard_contract.states import FIRST_FINAL, RunState, UpstreamKind

HEAD: Final = "rollback"
"""The name of the runs of heads; those of hooks are named after it."""
ARRIVAL_SECONDS: Final = 10.0
"""How long a run that is taken back may be on its way still: it was refused for a moment, for example."""
ARRIVAL_STEP: Final = 0.01
"""Between two looks whether it has arrived."""
_said_old: Final[set[str]] = set()


def keeping(outermost: KeptTransaction, scope: Scope, flow_name: str) -> "Registered | None":
    """Return what keeps the hooks of a transaction of a flow run; None where the server is too old."""
    session = scope.session
    if ROLLBACKS in session.capabilities:
        return Registered(outermost, scope, flow_name)
    if session.locate() not in _said_old:
        _said_old.add(session.locate())
        get_logger("transactions").warning(
            "the server at %s is of a release that does not keep hooks on_rollback: if this program is"
            " killed, nobody calls them",
            session.locate(),
        )
    return None


class _Entry:
    """A transaction whose hooks are registered: a task run, or a block with hooks of its own."""

    def __init__(self, part: KeptTransaction) -> None:
        self.part = part
        self.hooks = tuple(part.hooks_to_keep)
        self.renew()

    def renew(self) -> None:
        """Choose ids for the runs of its hooks, in their order: the first one is called last."""
        self.run_ids = new_ids(len(self.hooks))


class Registered:
    """The hooks of an outermost transaction and of all inside of it. Thread-safe."""

    def __init__(self, outermost: KeptTransaction, scope: Scope, flow_name: str) -> None:
        """Keep nothing yet; the transaction belongs to the flow run that makes the calls of `scope`."""
        self._outermost = outermost
        self._session = scope.session
        self._flow_run_id = scope.flow_run_id
        self._flow_name = flow_name
        # Queues that task runners have of their own are served by nobody once the flow run is lost.
        self._scope = Scope(self._session)
        self._lock = threading.RLock()
        self._entries: list[_Entry] = []
        self._heads: list[bytes] = []
        self._next_id = new_id()
        self._not_sent: set[bytes] = set()
        """Runs that cannot travel: there is nothing to take back."""
        self._is_linked = True
        """Whether what is added is waited for by those before it: not where one between was taken back."""
        self._is_elsewhere = False
        self._has_warned = False

    def add(self, parts: Sequence[KeptTransaction]) -> None:
        """Keep the hooks of some transactions, which are called before those that are kept."""
        with self._lock:
            known = len(self._entries)
            self._entries = [entry for entry in self._entries if entry.part not in parts]
            is_behind = len(self._entries) == known and bool(self._heads) and self._is_linked
            for part in parts:
                place = self._place_of(part)
                is_behind = is_behind and place == len(self._entries)
                self._entries.insert(place, _Entry(part))
            if is_behind:
                self._send(self._entries[known:])
            else:
                self._renew()
            if not all(isinstance(part, RunTransaction) for part in parts):
                self._wait_for(self._heads[-1])  # what they undo has happened, in this process

    def renew(self) -> None:
        """Keep all of them again, under a head of their own, and take the former one back."""
        with self._lock:
            if not self._entries:
                return
            former = self._renew()
            self._wait_for(self._heads[-1])
            states = self._take_back(former, "something has changed for the hooks")
            if states == [RunState.CANCELLED]:
                self._heads = self._heads[-1:]

    def _renew(self) -> list[bytes]:
        """Register all of them under another head; returns the former one, which is being taken back."""
        for entry in self._entries:
            entry.renew()
        former, self._is_linked = self._heads[-1:], True
        self._send_head()
        self._send(self._entries)
        # Of both only one can decide; the former one is taken back so that it is this one.
        if former:
            self._session.cancel(former)
        return former

    def _wait_for(self, run_id: bytes) -> None:
        """Wait until a run has arrived, so that it is there even if this process is killed now."""
        if run_id in self._not_sent:
            return
        client, deadline = self._session.client(), time.monotonic() + ARRIVAL_SECONDS
        while time.monotonic() < deadline:
            try:
                client.get_run(run_id)
                return
            except RunNotFound:
                time.sleep(ARRIVAL_STEP)
            except TaskyardError as error:
                self._outermost.logger.error("hooks on_rollback could not be recorded yet: %s", error)
                return

    def called(self, part: BaseTransaction, index: int) -> None:
        """Take back the hook at an index of a transaction: it was called here."""
        with self._lock:
            found = [entry.run_ids[index] for entry in self._entries if entry.part is part]
            for entry in self._entries:
                if entry.part is part:
                    entry.hooks, entry.run_ids = entry.hooks[:index], entry.run_ids[:index]
            self._entries = [entry for entry in self._entries if entry.hooks]
            self._is_linked = False
        self._take_back(found, "the hook was called in its flow run")

    def take_back(self, part: BaseTransaction) -> None:
        """Take back the hooks of a transaction and of those inside of it."""
        with self._lock:
            gone = [entry for entry in self._entries if entry.part is part or part in all_around(entry.part)]
            if not gone:
                return
            self._entries = [entry for entry in self._entries if entry not in gone]
            if not part.is_committed():
                self._is_linked = False
                self._take_back([run_id for entry in gone for run_id in entry.run_ids], self._why(part))
            elif self._entries:
                self.renew()  # all of them go with the former head, at once
            else:
                self.end()

    def end(self) -> None:
        """Take back everything."""
        with self._lock:
            heads, self._heads = self._heads, []
            self._entries.clear()
        self._take_back(heads[::-1], self._why(self._outermost))

    def begun_elsewhere(self, *, is_part: bool) -> bool:
        """Say whether agents roll back, because the flow run was taken for lost; else they do not begin now.

        Args:
            is_part: Whether this was asked for the transaction around, and nobody has to be asked again.
        """
        with self._lock:
            if not (is_part or self._is_elsewhere):
                self._is_elsewhere = any(self._has_begun(head) for head in self._sent_heads()[::-1])
            return self._is_elsewhere

    def _has_begun(self, head: bytes) -> bool:
        client = self._session.client()
        try:
            state = int(client.get_run(head).state)
            if RunState.PENDING < state < FIRST_FINAL:
                # The flow run was given up, and nobody has decided yet: then that is done here.
                client.cancel_run(head, reason="the flow run ends its transaction itself")
                state = self._end_of(head)
            return state == RunState.COMPLETED
        except TaskyardError:
            return False  # it is on its way, or nobody knows

    def _end_of(self, head: bytes) -> int:
        """Wait until a run that is being cancelled has ended; returns its last state."""
        client, deadline = self._session.client(), time.monotonic() + ARRIVAL_SECONDS
        while (state := int(client.get_run(head).state)) < FIRST_FINAL and time.monotonic() < deadline:
            time.sleep(ARRIVAL_STEP)
        return state

    def _why(self, part: BaseTransaction) -> str:
        return "the transaction has committed" if part.is_committed() else "the transaction was rolled back"

    def _place_of(self, part: KeptTransaction) -> int:
        """Return where a transaction belongs: hooks of a block are called before those of what is in it."""
        around = all_around(part)
        for place, entry in enumerate(self._entries):
            if entry.part in around:
                return place
        return len(self._entries)

    def _sent_heads(self) -> list[bytes]:
        return [head for head in self._heads if head not in self._not_sent]

    def _send_head(self) -> None:
        upstream: Upstream = {self._flow_run_id: UpstreamKind.NOT_COMPLETED}
        if former := self._sent_heads():
            upstream[former[-1]] = UpstreamKind.NOT_COMPLETED
        self._heads.append(new_id())
        name, facts = f"{HEAD} of {self._flow_name}", facts_of(self._outermost)
        self._submit("rollback_begun", [_Run(self._heads[-1], name, facts, upstream)])
        outlive()

    def _send(self, entries: Sequence[_Entry]) -> None:
        """Register hooks in the order of the calls; each waits for those of the next transaction."""
        runs: list[_Run] = []
        for entry in entries:
            entry.run_ids[0], self._next_id = self._next_id, new_id()
            facts = facts_of(entry.part)
            for index, hook in enumerate(entry.hooks):
                is_first_called = index == len(entry.hooks) - 1
                before = b"" if is_first_called else entry.run_ids[index + 1]
                upstream: Upstream = {
                    self._heads[-1]: UpstreamKind.ORDER,
                    before or self._next_id: UpstreamKind.IF_SUBMITTED,
                }
                if facts["run_id"]:
                    upstream[facts["run_id"]] = UpstreamKind.IF_SUBMITTED
                own = {**facts, "index": index, "hook": hook, "before": before}
                name = f"{HEAD} of {facts['name'] or self._flow_name}: {name_of(hook)}"
                runs.append(_Run(entry.run_ids[index], name, own, upstream))
        for start in range(0, len(runs), RUNS_PER_FRAME):
            self._submit("undone", runs[start : start + RUNS_PER_FRAME])

    def _submit(self, code: str, runs: Sequence["_Run"]) -> None:
        task = _task_of(code)
        group: RunGroup | None = None
        large, seen = LargeValues(HEAD, self._session), set[int]()
        for run in runs:
            names: set[str] = set()
            try:
                facts, stored = with_shared(run.facts, large, seen)
                awaited: Upstream = {}
                data, refs = pack_large(run.name, ((facts,), {}), awaited, names, large)
                if awaited:
                    raise NotPicklable("a future is in it; use its result, or its id, instead")
                names |= names_in(facts) | stored_names(stored)  # also of functions that travel by value
                template = group_of(task, self._scope, self._session, names).template
                extra = offload(run.name, data, [*refs, *refs_in(stored)], self._session)
            except (NotPicklable, PayloadTooLarge) as error:
                self._warn(run, error)
                self._not_sent.add(run.run_id)
                continue
            if group is None or group.key.template is not template or group.size > BYTES_PER_FRAME:
                if group is not None:
                    self._session.submit_group(group)
                group = RunGroup(GroupKey(template, b"", b"", outlives_session=True), 0)
            data, extra = (data, pb.RunExtra()) if extra is None else (b"", extra)
            extra.name = run.name
            group.add(run.run_id, data, run.upstream, None, extra)
        if group is not None:
            self._session.submit_group(group)

    def _warn(self, run: "_Run", error: TaskyardError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._outermost.logger.warning(
                "if this program is killed, nobody calls a hook on_rollback ('%s'), because what it is called"
                " with cannot travel to an agent: %s",
                run.name,
                error,
            )

    def _take_back(self, run_ids: Iterable[bytes], why: str) -> list[int]:
        """Cancel runs; returns the states that those are in of which that is known."""
        states = []
        for run_id in run_ids:
            if run_id in self._not_sent:
                continue
            try:
                states.append(self._cancel(run_id, why))
            except BaseException as error:
                # It goes behind what was submitted, and before the end of the flow run.
                self._session.cancel([run_id])
                if not isinstance(error, TaskyardError):
                    raise
                self._outermost.logger.error("%s, and that could not be recorded yet: %s", why, error)
        return states

    def _cancel(self, run_id: bytes, why: str) -> int:
        client, deadline = self._session.client(), time.monotonic() + ARRIVAL_SECONDS
        while True:
            try:
                return client.cancel_run(run_id, reason=why)
            except RunNotFound:
                if time.monotonic() > deadline:
                    raise
                time.sleep(ARRIVAL_STEP)


class _Run(NamedTuple):
    run_id: bytes
    name: str
    facts: dict[str, Any]
    upstream: Upstream


@cache
def _task_of(code: str) -> TaskDefinition[..., Any]:
    """Return the task whose runs call hooks, or decide that they are called."""
    task: TaskDefinition[..., Any] = _durable_names.task()
    task.__setstate__(
        {
            "prefix": (),
            "classmethod": False,
            "staticmethod": False,
            "reference": f"{_durable_names.__name__}:{code}",
            "options": {"name": HEAD, "cache_policy": NO_CACHE},
        }
    )
    return task
