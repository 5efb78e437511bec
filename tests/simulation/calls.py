"""Runs that belong to no session: what somebody does who submits by calls, and waits by calls.

The calls are those of the SDK's `Client`, and so is what repeats them; only that they are made on this loop,
where a program would have a thread.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from simulation.channel import Channel
from simulation.history import Spec
from simulation.plan import Job
from simulation.program import ADDRESS, Program
from taskyard._network.server.calling import translated
from taskyard._network.server.calls import Client
from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_contract.errors import Overloaded, StorageFull, TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FIRST_FINAL, RunState, UpstreamKind
from taskyard_contract.transport.repeating import PASSING, repeated

LATER: Final = (*PASSING, StorageFull, Overloaded)
"""What somebody who needs their runs tries again after."""
WAIT_SECONDS: Final = 20.0
CALL_SECONDS: Final = 5.0
MOMENT: Final = 0.01
FIRST, OTHER = "first", "other"


class Calls(Client):
    """The calls of a process, as coroutines."""

    def __init__(self, world: Any, node: Any) -> None:
        super().__init__(ADDRESS, CALL_SECONDS, patient=True)
        self._world = world
        self._channel = Channel(world.net, node)  # type: ignore[assignment]

    def _call(self, start: Callable[[], Awaitable[Any]], seconds: float | None = None) -> Any:
        return translated(repeated(start, self._world.loop.time))

    async def insisting(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call until it is answered."""
        while True:
            try:
                return await call()
            except LATER as error:
                self._world.trace("calls", f"again: {error}")
                await asyncio.sleep(max(0.5, error.retry_after))

    async def ended(self, run_id: bytes) -> run_service_pb2.Run:
        """Wait until a run has ended."""
        loop = self._world.loop
        while True:
            request = run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=round(WAIT_SECONDS * 1000))
            began = loop.time()
            answer = await self.insisting(
                lambda: self._call(lambda: self._runs().WaitRun(request, timeout=WAIT_SECONDS + CALL_SECONDS))  # noqa: B023
            )
            if answer.run.state >= FIRST_FINAL:
                return answer.run  # type: ignore[no-any-return]
            if loop.time() < began + WAIT_SECONDS - MOMENT:
                raise AssertionError(f"a wait for run {run_id.hex()} ended with nothing")

    async def cancelled(self, run_id: bytes) -> int:
        """Request the end of a run; returns its state."""
        request = run_service_pb2.CancelRunRequest(run_id=run_id)
        call = lambda: self._call(lambda: self._runs().CancelRun(request, timeout=CALL_SECONDS))  # noqa: E731
        return int((await self.insisting(call)).state)


class Submission:
    """The runs of a job, submitted by calls."""

    def __init__(self, world: Any, program: Program, calls: Calls, job: Job, upstream: list[bytes]) -> None:
        self._world, self._program, self._calls, self._job = world, program, calls, job
        self._template = program.place(job).template
        self._runs = [self._run(place, upstream) for place in range(job.count)]
        self.ids: list[bytes] = []
        """Those that were acknowledged."""

    def _run(self, place: int, upstream: list[bytes]) -> run_service_pb2.NewRun:
        job = self._job
        run = run_service_pb2.NewRun(run_id=new_id(), template=self._template.message)
        run.args.CopyFrom(
            common_pb2.Payload(encoding="python/pickle5", data=json.dumps(job.script()).encode())
        )
        ordinal = 0 if job.late else place  # which they have not got, and their workers compute keys from
        if job.key and not job.late:
            run.cache_key = job.cache_key(ordinal)
        before = upstream[place % len(upstream)] if upstream else b""
        if before:
            run.upstream.add(run_id=before, kind=int(UpstreamKind.DATA))  # type: ignore[arg-type]
        spec = Spec(
            (before.hex(),) if before else (), job.retries, job.infra, failures=job.fails, calls=job.calls(),
            cache_key=job.cache_key(ordinal), refresh=job.refresh, expires=job.expires,
        )  # fmt: skip
        self._world.note("submitted", run.run_id.hex(), who=self._program.id, value=spec)
        return run

    def _request(self, content: str) -> run_service_pb2.SubmitRunsRequest:
        request = run_service_pb2.SubmitRunsRequest(runs=self._runs)
        request.blobs.append(common_pb2.InlineBlob(digest=self._template.digest, data=self._template.code))
        if content == OTHER:
            for run in request.runs:
                run.args.data += b" "  # as good, and other bytes
        return request

    async def _submit(self, content: str) -> dict[bytes, int]:
        """Submit all of them; returns why those were refused that were."""
        request = self._request(content)
        answer = await self._calls.insisting(lambda: self._calls.submit_runs(request))
        refused = {each.run_id: int(each.error.reason) for each in answer.refused}
        for run in self._runs:
            if run.run_id not in refused:
                self._world.note("accepted", run.run_id.hex(), who=self._program.id, value=content)
        return refused

    async def make(self) -> None:
        """Submit them, in the way that the plan says."""
        rival = {"rival": OTHER, "twice": FIRST}.get(self._job.again)
        several = [self._submit(content) for content in (FIRST, rival) if content]
        answers = await asyncio.gather(*several)
        for run in self._runs:
            reasons = [refused.get(run.run_id, 0) for refused in answers]
            if not all(reasons):
                self.ids.append(run.run_id)
                self._program.answered.add(run.run_id)
                self._world.note("acknowledged", run.run_id.hex(), who=self._program.id)
            else:
                self._world.note("refused", run.run_id.hex(), who=self._program.id, value=(reasons[0], ""))
            if rival == FIRST:
                self._note_again(run.run_id, True, max(reasons))

    async def repeat(self) -> None:
        """Submit them once more, with their arguments or with others."""
        equal = self._job.again == "equal"
        refused = await self._submit(FIRST if equal else OTHER)
        for run_id in self.ids:
            self._note_again(run_id, equal, refused.get(run_id, 0))

    def _note_again(self, run_id: bytes, equal: bool, reason: int) -> None:
        self._world.note("repeated", run_id.hex(), who=self._program.id, value=(equal, reason))

    async def watch(self, run_id: bytes) -> None:
        """Learn from the program's session how a run has ended."""
        run = self._program.watch(run_id)
        await self._program.settled([run_id])
        if isinstance(run.outcome, TaskyardError):
            raise AssertionError(f"a subscription to run {run_id.hex()} ended with {run.outcome}")

    async def wait(self, run_id: bytes) -> None:
        """Learn by calls how a run has ended."""
        run = await self._calls.ended(run_id)
        result = run.result.data if run.state == RunState.COMPLETED else None
        self._world.note("told", run_id.hex(), who=self._program.id, value=(int(run.state), result))
