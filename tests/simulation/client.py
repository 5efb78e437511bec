"""A client's process: a program, and what its user does with it, as the plan says."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from simulation.calls import Calls, Submission
from simulation.history import Spec
from simulation.loop import Node
from simulation.plan import Job
from simulation.program import Program
from taskyard._network.session.run_groups import GroupKey, RunGroup
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.errors import ConnectionFailed, TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import FIRST_FINAL, FlowEvent, RunKind


class ClientNode:
    """One program, from its start to its end."""

    def __init__(self, world: Any, name: str, number: int) -> None:
        self._world = world
        self.host = name
        self.node = Node(world.loop, f"{name}#{number}", world.seed)
        self.node.on_crash = self._crashed
        self.program: Program
        self.busy = 0
        """Jobs under way."""
        self.jobs: dict[int, list[bytes]] = {}

    @property
    def id(self) -> str:
        return self.program.id

    def start(self) -> None:
        """Connect."""
        self.program = Program(self._world, self.node)

    def begin(self, number: int, job: Job) -> None:
        """Do a job."""
        self.busy += 1
        self.node.spawn(self._do(number, job))

    async def _do(self, number: int, job: Job) -> None:
        try:
            await self._opened()
            if job.kind == "flow":
                await self._flow(number, job)
            elif job.kind == "unowned":
                await self._unowned(number, job)
            else:
                self._submit(number, job)
        except TaskyardError as error:
            self._world.trace(self.node.name, f"job {number} ended: {error}")
        finally:
            self.busy -= 1

    async def _opened(self) -> None:
        """Call until there is a server."""
        while True:
            with suppress(ConnectionFailed):
                return await self.program.opened()

    def _submit(self, number: int, job: Job, flow: bytes = b"") -> list[bytes]:
        """Submit the runs of a job, each after the runs of an earlier one at its place."""
        program = self.program
        chosen = new_ids(job.count) if job.undone else [b""] * job.count
        if job.undone:
            program.undo(job, flow, chosen)
        key = program.place(job, flow)
        before = self.jobs.get(job.after, []) if job.after >= 0 else []
        ids = [
            program.submit(
                key, job, place, before[place % len(before)] if before else b"", run_id=chosen[place]
            )
            for place in range(job.count)
        ]
        self.jobs[number] = ids
        if job.cancel_after >= 0:
            asyncio.get_running_loop().call_later(job.cancel_after, self._cancel, ids, job)
        return ids

    async def _unowned(self, number: int, job: Job) -> None:
        """Submit runs that belong to no session, and wait for them by calls or by subscriptions."""
        program, before = self.program, self.jobs.get(job.after, []) if job.after >= 0 else []
        await program.settled_with(before)
        calls = Calls(self._world, self.node)
        submission = Submission(self._world, program, calls, job, before)
        await submission.make()
        self.jobs[number] = submission.ids
        waits = [submission.watch if job.awaits else submission.wait] * len(submission.ids)
        work = [wait(run_id) for wait, run_id in zip(waits, submission.ids, strict=True)]
        if job.again in ("equal", "other"):
            work.append(self._later(job.pause, submission.repeat))
        if job.cancel_after >= 0:
            work += [
                self._later(job.cancel_after, self._cancel_by_call, calls, run_id)
                for run_id in submission.ids[:: 2 if job.cancel == "half" else 1]
            ]
        await asyncio.gather(*work)

    async def _later(self, seconds: float, action: Callable[..., Awaitable[None]], *args: Any) -> None:
        await asyncio.sleep(seconds)
        await action(*args)

    async def _cancel_by_call(self, calls: Calls, run_id: bytes) -> None:
        self._world.note("cancel_requested", run_id.hex(), who=self.id)
        self._world.note("cancel_acknowledged", run_id.hex(), value=await calls.cancelled(run_id))

    def _cancel(self, ids: list[bytes], job: Job) -> None:
        wanted = ids[:: 2 if job.cancel == "half" else 1]
        for run_id in wanted:
            self._world.note("cancel_requested", run_id.hex(), who=self.id)
        try:
            if job.cancel == "withdraw":
                self.program.session.withdraw(wanted)
            elif job.cancel == "owner":
                self._world.cancel_at_owner(wanted)
            else:
                self.program.session.cancel(wanted)
        except TaskyardError as error:
            self._world.trace(self.node.name, f"cannot cancel: {error}")

    async def _flow(self, number: int, job: Job) -> None:
        """Submit a flow run and be its body: submit runs in it, wait for them or not, report its end."""
        flow, session = new_id(), self.program.session
        message = template_pb2.RunTemplate(
            kind=RunKind.FLOW, name="flow", task_key="flow", encoding="python/pickle5"
        )
        group = RunGroup(GroupKey(Template(message), b"", b""), 0)
        group.add(flow, b"{}", None, None, None)
        self._world.note("submitted", flow.hex(), who=self.id, value=Spec(is_flow=True, client=self.id))
        stopped = asyncio.Event()
        session.on_cancel(flow, stopped.set)
        session.submit_group(group)
        session.report_start(self._report(flow, FlowEvent.STARTED))
        await asyncio.sleep(job.pause)
        self._log(flow, job.logs)
        ids = self._submit(number, job, flow)
        if job.awaits:
            await self.program.settled(ids, stopped)
        ended = FlowEvent.FAILED if job.undone == "failed" else FlowEvent.SUCCEEDED
        event = FlowEvent.CANCELLED if stopped.is_set() else ended
        decision = session.report_end(self._report(flow, event))
        try:
            decided = await asyncio.wrap_future(decision)
            if int(decided.state) >= FIRST_FINAL:
                self._world.note("told", flow.hex(), who=self.id, value=(int(decided.state), None))
        finally:
            session.on_cancel(flow, None)

    def _log(self, flow: bytes, count: int) -> None:
        for number in range(count):
            text = f"{self.node.name}:{flow.hex()[4:16]}:{number}"
            self._world.note("logged", flow.hex(), who=self.id, value=text)
            self.program.session.log((flow, self._world.clock.now_us(), 20, "simulation", text, "flow"))

    def _report(self, flow: bytes, event: FlowEvent) -> pb.FlowReport:
        return pb.FlowReport(
            run_id=flow,
            event=event.value,  # type: ignore[arg-type]  # the enums are numerically equal
            occurred_us=self._world.clock.now_us(),
            attempt=1,
        )

    def _crashed(self) -> None:
        if not self.program.leaving:
            self._world.note("died", who=self.id)
        self._world.net.died(self.node)
        self._world.client_died(self)

    def leave(self) -> None:
        """Say goodbye."""
        self.program.leaving = True
        self.node.run(self.program.stream.leave)
