"""The workers of an agent, and what can be asked of all of them."""

from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import AT_WORK, LEFT


class Workers:
    """Those whose exit is not confirmed."""

    def __init__(self) -> None:
        """Have none."""
        self.workers: dict[int, WorkerHandle] = {}
        """By number, the oldest first."""

    def blocked(self) -> int:
        """Return how many workers wait for other runs."""
        # With each frame: a list, which is quicker than a generator.
        return len([True for worker in self.workers.values() if worker.blocked and worker.phase not in LEFT])

    def blocked_shares(self) -> frozenset[int]:
        """Return the numbers of the sessions whose runs wait for other runs."""
        return frozenset(
            span.chunk.share
            for worker in self.workers.values()
            if worker.blocked and worker.phase not in LEFT
            for span in worker.spans.values()
        )

    def pids(self) -> list[int]:
        """Return the process ids of the workers whose exit is not confirmed."""
        return [worker.pid for worker in self.workers.values()]

    def at_work(self) -> int:
        """Return how many workers count as such: those that rest or are on their way out do not."""
        return sum(
            worker.phase in AT_WORK and not (worker.spare or worker.is_lane)
            for worker in self.workers.values()
        )

    def idle(self) -> bool:
        """Whether a worker that could take runs has none."""
        return any(worker.available and not worker.spans for worker in self.workers.values())

    def executing(self) -> int:
        """Return how many workers have runs and do not wait for other runs."""
        return sum(
            bool(worker.spans) and not (worker.blocked or worker.is_lane) for worker in self.workers.values()
        )

    def latest_waiting(self) -> WorkerHandle | None:
        """Return the worker whose run waits for other runs and was the last to begin with it."""
        waiting = [worker for worker in self.workers.values() if worker.blocked and worker.phase not in LEFT]
        return max(waiting, key=lambda worker: worker.waits_since, default=None)
