"""Calls that wait for the end of a run."""

import asyncio


class Watchers:
    """Who waits for which run, outside of sessions."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        """By run. To be looked at before `ended` is called where that happens for every run."""

    def __len__(self) -> int:
        """Return how many runs are waited for."""
        return len(self.waiting)

    def count(self, run_id: bytes) -> int:
        """Return how many calls wait for a run."""
        return len(self.waiting.get(run_id, ()))

    async def wait(self, run_id: bytes) -> None:
        """Return when `ended` is called for a run."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(run_id, []).append(future)
        try:
            await future
        finally:
            waiting = self.waiting.get(run_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)

    def ended(self, run_id: bytes) -> None:
        """Let those go on that wait for a run."""
        for future in self.waiting.pop(run_id, ()):
            if not future.done():
                future.set_result(None)
