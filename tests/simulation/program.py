"""What a program is to the control plane: a real session with its stream, and the runs it awaits.

Clients are programs, and so is each worker whose runs call others. Its code is coroutines, where a user's
would be threads: the session does not notice.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from simulation.channel import Channel
from simulation.history import Spec
from simulation.loop import Node
from simulation.plan import Work
from taskyard._data.values.awaited import AwaitedRun
from taskyard._network.session.run_groups import GroupKey, RunGroup
from taskyard._network.session.session import Session
from taskyard._network.session.stream import Stream
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.errors import ConnectionFailed, TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunKind, RunState, UpstreamKind

ADDRESS: Final = "server:4700"
CODE_BYTES: Final = 300
LOOK_SECONDS: Final = 0.1
"""How often somebody looks whether the session is open: that is an event of threads, and here are none."""


class Thread:
    """Stands for the SDK's loop thread."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def loop(self) -> Any:
        return self._loop


class LocatedStream(Stream):
    """A stream whose server needs no thread to be found."""

    async def _locate(self) -> str:
        return ADDRESS


class Program:
    """A process's session, from its first call to the end of the process."""

    def __init__(self, world: Any, node: Node, caller: bytes = b"") -> None:
        """Connect from `node`; `caller` is the run inside which that happens."""
        self._world = world
        self._node = node
        self.leaving = False
        self.awaited: dict[bytes, AwaitedRun] = {}
        self.answered: set[bytes] = set()
        """Runs that are durable, or were refused."""
        self._templates: dict[tuple[Any, ...], Template] = {}
        self.session = Session(lambda: ADDRESS, caller, thread=Thread(world.loop))  # type: ignore[arg-type]
        self._watch_session()
        self.stream = LocatedStream(
            self.session.in_flight,
            connect=lambda address: Channel(world.net, node),  # type: ignore[arg-type, return-value]
            clock=world.loop.time,
            draw=node.random.uniform,
            oldest_held=lambda: b"",  # all of them
        )
        self.session._stream = self.stream
        self.stream.start()

    @property
    def id(self) -> str:
        return self.session.session_id.hex()

    def _watch_session(self) -> None:
        """Note what the session is told, between the stream and it."""
        world, state = self._world, self.session.in_flight
        refused: set[bytes] = set()
        hello, on_frame, on_fatal = state.hello, state.on_frame, state.on_fatal

        def named_hello() -> pb.SessionHello:
            message = hello()
            message.client_name = self._node.name  # without the number of this real process
            return message

        def noted_frame(frame: pb.SessionFrame) -> None:
            before = state._sent.run_ids() if frame.submitted_up_to else set()
            refused.update(each.run_id for each in frame.refused)
            self.answered |= refused
            for each in frame.refused:
                world.note(
                    "refused", each.run_id.hex(), who=self.id, value=(int(each.error.reason), each.message)
                )
            on_frame(frame)
            if before:
                for run_id in sorted(before - state._sent.run_ids() - refused - state._postponed):
                    world.note("acknowledged", run_id.hex(), who=self.id)
                    self.answered.add(run_id)

        def noted_loss(count: int) -> None:
            world.note("logs_dropped", who=self.id, value=count)

        def noted_fatal(error: TaskyardError) -> None:
            if not self.leaving:
                world.note("peer_ended", who=self.id, value=(type(error).__name__, False))
            on_fatal(error)

        state.said.lost_logs = noted_loss
        state.hello, state.on_frame, state.on_fatal = named_hello, noted_frame, noted_fatal  # type: ignore[method-assign]

    async def opened(self) -> None:
        """Wait until the session has been welcomed, as `Session.open` does.

        Raises:
            ConnectionFailed: Nobody welcomes it for so long that this is an error for whoever called.
        """
        deadline = self._world.loop.time() + self.session.patience
        while not self.session.in_flight.opened.is_set():
            if self._world.loop.time() >= deadline:
                raise ConnectionFailed("no control plane answered")
            await asyncio.sleep(LOOK_SECONDS)

    def outstanding(self) -> list[bytes]:
        return [run_id for run_id, run in self.awaited.items() if not run.done()]

    def place(self, work: Work, flow: bytes = b"", caller: bytes = b"") -> GroupKey:
        """Return what runs of a task have in common that are submitted together."""
        return GroupKey(self._template(work), flow, caller)

    def submit(
        self, key: GroupKey, work: Work, ordinal: int, before: bytes = b"", run_id: bytes = b""
    ) -> bytes:
        """Submit a run, perhaps after another one; returns its id, which may have been chosen."""
        run_id = run_id or new_id()
        run = self.awaited[run_id] = AwaitedRun(run_id, None)  # type: ignore[arg-type]
        run.when_settled(lambda: self._told(run))
        upstream = {before: int(UpstreamKind.DATA)} if before else None
        spec = Spec(
            tuple(each.hex() for each in upstream or ()), work.retries, work.infra, key.flow_run_id.hex(),
            work.fails, client=self.id, caller=key.caller_run_id.hex(), calls=work.calls(),
            cache_key=work.cache_key(ordinal), refresh=work.refresh, expires=work.expires,
        )  # fmt: skip
        self._world.note("submitted", run_id.hex(), who=self.id, value=spec)
        cache_key = work.cache_key(ordinal) if work.key and not work.late else None
        self.session.submit(key, run, json.dumps(work.script()).encode(), ordinal, upstream, cache_key)
        return run_id

    def undo(self, work: Work, flow: bytes, ids: list[bytes]) -> None:
        """Submit runs that undo others if a flow is lost, those first that were submitted last."""
        key = GroupKey(self._template(work), b"", b"", outlives_session=True)
        [head, *hooks] = new_ids(len(ids) + 1)
        self._for_nobody(key, head, {flow: UpstreamKind.NOT_COMPLETED}, Spec(lost=flow.hex()))
        for run_id, hook, earlier in zip(ids, hooks, [*hooks[1:], b""], strict=True):
            may_come = [each for each in (run_id, earlier) if each]
            spec = Spec(head=head.hex(), may_come=tuple(each.hex() for each in may_come))
            upstream = {head: UpstreamKind.ORDER, **dict.fromkeys(may_come, UpstreamKind.IF_SUBMITTED)}
            self._for_nobody(key, hook, upstream, spec)

    def _for_nobody(
        self, key: GroupKey, run_id: bytes, upstream: dict[bytes, UpstreamKind], spec: Spec
    ) -> None:
        group = RunGroup(key, 0)
        group.add(run_id, json.dumps(Work(ms=1.0).script()).encode(), upstream, None, None)
        self._world.note("submitted", run_id.hex(), who=self.id, value=spec)
        self.session.submit_group(group)

    async def settled_with(self, run_ids: list[bytes]) -> None:
        """Wait until the server has taken or refused runs: nobody else may name them before that."""
        while True:
            if all(run_id in self.answered for run_id in run_ids):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def watch(self, run_id: bytes) -> AwaitedRun:
        """Subscribe to a run that was not submitted here."""
        run = self.awaited[run_id] = AwaitedRun(run_id, None)  # type: ignore[arg-type]
        run.when_settled(lambda: self._told(run))
        self.session.watch(run)
        return run

    def _template(self, work: Work) -> Template:
        name = work.task, work.retries, work.retry_delay, work.infra, work.timeout, work.refresh, work.expires
        known = self._templates.get(name)
        if known is None:
            code = hashlib.sha256(work.task.encode()).digest() * (CODE_BYTES // 32)
            message = template_pb2.RunTemplate(
                kind=RunKind.TASK,
                name=work.task,
                task_key=work.task,
                queue="default",
                encoding="python/pickle5",
                max_infra_retries=work.infra,
            )
            message.code.blob_digest = hashlib.sha256(code).digest()
            message.retry.max_retries = work.retries
            message.retry.delays_ms.append(round(work.retry_delay * 1000))
            message.refresh_cache, message.cache_expiration_ms = work.refresh, round(work.expires * 1000)
            message.timeout_ms = round(work.timeout * 1000)
            known = self._templates[name] = Template(message, code)
        return known

    def _told(self, run: AwaitedRun) -> None:
        outcome = run.outcome
        if isinstance(outcome, bytes):
            self._world.note("told", run.run_id.hex(), who=self.id, value=(int(RunState.COMPLETED), outcome))
        elif isinstance(outcome, pb.RunOutcome):
            value = int(outcome.state), outcome.result.data or None
            self._world.note("told", run.run_id.hex(), who=self.id, value=value)

    async def settled(self, run_ids: Iterable[bytes], stopped: asyncio.Event | None = None) -> None:
        """Wait for some runs, or until somebody says that it is enough."""
        all_settled = asyncio.Event()
        left = {run_id for run_id in run_ids if not self.awaited[run_id].done()}

        def one(run_id: bytes) -> None:
            left.discard(run_id)
            if not left:
                all_settled.set()

        for run_id in sorted(left):
            self.awaited[run_id].when_settled(lambda run_id=run_id: one(run_id))
        if not left:
            return
        events = [all_settled] if stopped is None else [all_settled, stopped]
        tasks = [asyncio.ensure_future(each.wait()) for each in events]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
