"""Calls that wait for the end of a run."""

import asyncio


class Watchers:
    """Who waits for which run, outside of sessions."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """Return how many runs are waited for."""
        return len(self._waiting)

    def count(self, run_id: bytes) -> int:
        """Return how many calls wait for a run."""
        return len(self._waiting.get(run_id, ()))

    async def wait(self, run_id: bytes) -> None:
        """Return when `ended` is called for a run."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(future)
        try:
            await future
        finally:
            waiting = self._waiting.get(run_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)

    def ended(self, run_id: bytes) -> None:
        """Let those go on that wait for a run."""
        if self._waiting:  # nobody does, mostly, and this is called for every run
            for future in self._waiting.pop(run_id, ()):
                if not future.done():
                    future.set_result(None)
