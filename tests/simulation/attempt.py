"""What a worker's code does with a run: it works, fails, tells its cache key, or calls other runs.

Stands for `taskyard._engine.execution`. Which of it is in the run's arguments.
"""

import asyncio
import json
from typing import TYPE_CHECKING, Final

from simulation.plan import Work
from simulation.program import Program
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import failure_pb2
from taskyard_contract.errors import TaskyardError

if TYPE_CHECKING:
    from simulation.worker import SimulatedWorker

KEY_SECONDS: Final = 0.001
"""What it takes to compute a cache key."""

Outcome = bytes | pb.ReportException


class Attempt:
    """A run under one epoch, in one process."""

    def __init__(
        self,
        worker: "SimulatedWorker",
        run_id: bytes,
        epoch: int,
        args: bytes,
        ordinal: int,
        extra: pb.AttemptExtra,
    ) -> None:
        self._worker = worker
        self.run_id, self.epoch = run_id, epoch
        self.number = extra.attempt or 1
        self._work = Work(**json.loads(args))
        self._key = self._work.cache_key(ordinal) if self._tells_key(extra) else ""

    def _tells_key(self, extra: pb.AttemptExtra) -> bool:
        """Whether the control plane has to know the key first, as `TaskAttempt._must_tell_key`."""
        known = bool(extra.cache_key) and self._work.refresh
        return self._work.late and not (extra.cache_key_decided or known)

    def begin(self) -> None:
        """Execute it; its worker is told when it has ended."""
        loop = asyncio.get_running_loop()
        self._log(0, self._work.logs // 2)
        if self._key:
            report = pb.ReportException(kind=pb.REPORT_KIND_CACHE_KEY, cache_key=self._key)
            loop.call_later(KEY_SECONDS, self._worker.ended, self, "keyed", report)
        elif self._work.depth:
            asyncio.ensure_future(self._call())  # noqa: RUF006
        else:
            loop.call_later(self._work.ms / 1000, self._end, self.number <= self._work.fails)

    def _log(self, first: int, stop: int) -> None:
        for number in range(first, stop):
            self._worker.log(self.run_id, self.epoch, number)

    def _end(self, fails: bool) -> None:
        self._log(self._work.logs // 2, self._work.logs)
        if fails:
            self._worker.ended(self, "failed", _failure())
        else:
            self._worker.ended(self, "succeeded", f'"{self.run_id.hex()[4:16]}@{self.epoch:x}"'.encode())

    async def _call(self) -> None:
        """Call other runs, and wait for them."""
        work, called, fails = self._work, self._work.called(), self.number <= self._work.fails
        await asyncio.sleep(work.ms / 1000)
        program = self._worker.program_of(self.run_id)
        place, ids = program.place(called, caller=self.run_id), []
        try:
            await program.opened()
            for number in range(work.width):
                ids.append(program.submit(place, called, number))
                if work.in_turn:
                    await self._wait(program, ids)
            if not (fails and work.hasty):
                await self._wait(program, ids)
        except TaskyardError as error:
            self._worker.trace(f"a call failed: {error}")
            fails = True
        self._end(fails)

    async def _wait(self, program: Program, ids: list[bytes]) -> None:
        """Wait for runs, and let others have the slot meanwhile, as `Link.blocked` does."""
        if all(program.awaited[run_id].done() for run_id in ids):
            return
        self._worker.flush()
        self._worker.send(frames.BLOCKED)
        await program.settled(ids)
        self._worker.send(frames.UNBLOCKED)


def _failure() -> pb.ReportException:
    return pb.ReportException(
        kind=pb.REPORT_KIND_FAILED,
        message="as scripted",
        failure=failure_pb2.Failure(type="RuntimeError", message="as scripted"),
    )
