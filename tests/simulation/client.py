"""A client's process: a real session with its stream, and what its program does, as the plan says.

The program is a coroutine for each job, where a user's would be threads: the session does not notice.
"""

import asyncio
import hashlib
import json
from typing import Any, Final

from simulation.agent import ADDRESS
from simulation.grpc_model import Channel
from simulation.history import Spec
from simulation.loop import Node
from simulation.plan import Job
from taskyard._data.values.awaited import AwaitedRun
from taskyard._network.session.run_groups import GroupKey, RunGroup
from taskyard._network.session.session import Session
from taskyard._network.session.stream import Stream
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FIRST_FINAL, FlowEvent, RunKind, RunState, UpstreamKind

CODE_BYTES: Final = 300


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


class ClientNode:
    """One program, from its start to its end."""

    def __init__(self, world: Any, name: str, number: int) -> None:
        self._world = world
        self.host = name
        self.node = Node(world.loop, f"{name}#{number}", world.seed)
        self.node.on_crash = self._crashed
        self.session: Session
        self.stream: Stream
        self.awaited: dict[bytes, AwaitedRun] = {}
        self.busy = 0
        """Jobs under way."""
        self._leaving = False
        self._programs: dict[str, Template] = {}
        self.jobs: dict[int, list[bytes]] = {}

    @property
    def id(self) -> str:
        return self.session.session_id.hex()

    def start(self) -> None:
        """Connect."""
        world = self._world
        self.session = Session(lambda: ADDRESS, thread=Thread(world.loop))  # type: ignore[arg-type]
        state = self.session.in_flight
        refused: set[bytes] = set()
        hello, on_frame, on_fatal = state.hello, state.on_frame, state.on_fatal

        def named_hello() -> pb.SessionHello:
            message = hello()
            message.client_name = self.node.name  # without the number of this real process
            return message

        def noted_frame(frame: pb.SessionFrame) -> None:
            before = state._sent.run_ids() if frame.submitted_up_to else set()
            refused.update(each.run_id for each in frame.refused)
            for each in frame.refused:
                world.note(
                    "refused", each.run_id.hex(), who=self.id, value=(int(each.error.reason), each.message)
                )
            on_frame(frame)
            if before:
                for run_id in sorted(before - state._sent.run_ids() - refused - state._postponed):
                    world.note("acknowledged", run_id.hex(), who=self.id)

        def noted_fatal(error: TaskyardError) -> None:
            if not self._leaving:
                world.note("peer_ended", who=self.id, value=(type(error).__name__, False))
            on_fatal(error)

        state.hello, state.on_frame, state.on_fatal = named_hello, noted_frame, noted_fatal  # type: ignore[method-assign]
        self.stream = LocatedStream(
            state,
            connect=lambda address: Channel(world.net, self.node),  # type: ignore[arg-type, return-value]
            clock=world.loop.time,
            draw=self.node.random.uniform,
        )
        self.session._stream = self.stream
        self.stream.start()

    def outstanding(self) -> list[bytes]:
        return [run_id for run_id, run in self.awaited.items() if not run.done()]

    def begin(self, number: int, job: Job) -> None:
        """Do a job."""
        self.busy += 1
        self.node.spawn(self._do(number, job))

    async def _do(self, number: int, job: Job) -> None:
        try:
            # `opened` is an event of threads, of which there are none here.
            while not self.session.in_flight.opened.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            if job.kind == "flow":
                await self._flow(number, job)
            else:
                self._submit(number, job)
        except TaskyardError as error:
            self._world.trace(self.node.name, f"job {number} ended: {error}")
        finally:
            self.busy -= 1

    def _template(self, job: Job) -> Template:
        known = self._programs.get(job.task)
        if known is None:
            code = hashlib.sha256(job.task.encode()).digest() * (CODE_BYTES // 32)
            message = template_pb2.RunTemplate(
                kind=RunKind.TASK,
                name=job.task,
                task_key=job.task,
                queue="default",
                encoding="json/plain",
                max_infra_retries=job.infra,
            )
            message.code.blob_digest = hashlib.sha256(code).digest()
            message.retry.max_retries = job.retries
            message.retry.delays_ms.append(round(job.retry_delay * 1000))
            message.timeout_ms = round(job.timeout * 1000)
            known = self._programs[job.task] = Template(message, code)
        return known

    def _submit(self, number: int, job: Job, flow: bytes = b"") -> list[bytes]:
        """Submit the runs of a job, each after the runs of an earlier one at its place."""
        key = GroupKey(self._template(job), flow, b"")
        before = self.jobs.get(job.after, []) if job.after >= 0 else []
        ids: list[bytes] = []
        args = json.dumps({"ms": job.ms, "fails": job.fails}).encode()
        for place in range(job.count):
            run_id = new_id()
            upstream = {before[place % len(before)]: int(UpstreamKind.DATA)} if before else None
            run = self._await(run_id)
            names = tuple(each.hex() for each in upstream or ())
            spec = Spec(names, job.retries, job.infra, flow.hex(), job.fails, client=self.id)
            self._world.note("submitted", run_id.hex(), who=self.id, value=spec)
            self.session.submit(key, run, args, place, upstream)
            ids.append(run_id)
        self.jobs[number] = ids
        if job.cancel_after >= 0:
            asyncio.get_running_loop().call_later(job.cancel_after, self._cancel, ids, job)
        return ids

    def _await(self, run_id: bytes) -> AwaitedRun:
        run = self.awaited[run_id] = AwaitedRun(run_id, None)  # type: ignore[arg-type]
        run.when_settled(lambda: self._told(run))
        return run

    def _told(self, run: AwaitedRun) -> None:
        outcome = run.outcome
        if isinstance(outcome, bytes):
            self._world.note("told", run.run_id.hex(), who=self.id, value=(int(RunState.COMPLETED), outcome))
        elif isinstance(outcome, pb.RunOutcome):
            self._world.note("told", run.run_id.hex(), who=self.id, value=(int(outcome.state), None))

    def _cancel(self, ids: list[bytes], job: Job) -> None:
        wanted = ids[:: 2 if job.cancel == "half" else 1]
        for run_id in wanted:
            self._world.note("cancel_requested", run_id.hex(), who=self.id)
        try:
            if job.cancel == "withdraw":
                self.session.withdraw(wanted)
            elif job.cancel == "owner":
                self._world.cancel_at_owner(wanted)
            else:
                self.session.cancel(wanted)
        except TaskyardError as error:
            self._world.trace(self.node.name, f"cannot cancel: {error}")

    async def _flow(self, number: int, job: Job) -> None:
        """Submit a flow run and be its body: submit runs in it, wait for them or not, report its end."""
        flow = new_id()
        message = template_pb2.RunTemplate(
            kind=RunKind.FLOW, name="flow", task_key="flow", encoding="json/plain"
        )
        group = RunGroup(GroupKey(Template(message), b"", b""), 0)
        group.add(flow, b"{}", None, None, None)
        self._world.note("submitted", flow.hex(), who=self.id, value=Spec(is_flow=True, client=self.id))
        stopped = asyncio.Event()
        self.session.on_cancel(flow, stopped.set)
        self.session.submit_group(group)
        self.session.report_start(self._report(flow, FlowEvent.STARTED))
        await asyncio.sleep(job.pause)
        ids = self._submit(number, job, flow)
        if job.awaits:
            await self._settled(ids, stopped)
        event = FlowEvent.CANCELLED if stopped.is_set() else FlowEvent.SUCCEEDED
        decision = self.session.report_end(self._report(flow, event))
        try:
            decided = await asyncio.wrap_future(decision)
            if int(decided.state) >= FIRST_FINAL:
                self._world.note("told", flow.hex(), who=self.id, value=(int(decided.state), None))
        finally:
            self.session.on_cancel(flow, None)

    def _report(self, flow: bytes, event: FlowEvent) -> pb.FlowReport:
        return pb.FlowReport(
            run_id=flow,
            event=event.value,  # type: ignore[arg-type]  # the enums are numerically equal
            occurred_us=self._world.clock.now_us(),
            attempt=1,
        )

    async def _settled(self, ids: list[bytes], stopped: asyncio.Event) -> None:
        """Wait for some runs, or for the flow's cancellation."""
        all_settled = asyncio.Event()
        left = {run_id for run_id in ids if not self.awaited[run_id].done()}

        def one(run_id: bytes) -> None:
            left.discard(run_id)
            if not left:
                all_settled.set()

        for run_id in sorted(left):
            self.awaited[run_id].when_settled(lambda run_id=run_id: one(run_id))
        if left:
            tasks = [asyncio.ensure_future(each.wait()) for each in (all_settled, stopped)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    def _crashed(self) -> None:
        if not self._leaving:
            self._world.note("died", who=self.id)
        self._world.net.died(self.node)
        self._world.client_died(self)

    def leave(self) -> None:
        """Say goodbye."""
        self._leaving = True
        self.node.run(self.stream.leave)
