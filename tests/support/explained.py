"""Why runs wait, as everybody gets to see it: message, line of the client, table of the command."""

import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from support.owner_harness import World, world

from taskyard._network.session.wait_lines import lines_of
from taskyard.cli.views.waits import print_explanation
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import WaitReason
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.explaining import RunExplaining
from taskyard_controlplane.storage import create_reader


class Asker:
    """Asks an owner, and the database beside it, as the service does."""

    def __init__(self, directory: Directory, reading: RunReader) -> None:
        self.reading = reading
        self._explaining = RunExplaining(directory, reading)

    async def about(self, *run_ids: bytes) -> list[pb.Explanation]:
        answer = await self._explaining.answer(pb.ExplainRequest(run_ids=run_ids))
        return list(answer.explanations)

    async def waits(self, run_id: bytes) -> list[pb.Wait]:
        [explained] = await self.about(run_id)
        return list(explained.waits)

    async def wait(self, run_id: bytes, reason: WaitReason, text: str) -> pb.Wait:
        """Check the reason that decides, in the answer, on the command line and in the client."""
        [explained] = await self.about(run_id)
        first = explained.waits[0]
        assert (WaitReason(first.reason), first.message) == (reason, text), explained
        shown = io.StringIO()
        with redirect_stdout(shown):
            print_explanation(pb.Run(run_id=run_id, name=explained.name, state=explained.state), explained)
        assert [reason.name.lower(), "itself", *text.split()] in [
            line.split() for line in shown.getvalue().splitlines()
        ]
        return first

    async def line(self, run_id: bytes) -> str:
        """Return what a client says that waits for a run; "" for nothing."""
        lines = lines_of(await self.about(run_id), 1)
        return "".join(f"{line.name} {line.text}" for line in lines)


@asynccontextmanager
async def asking(directory: Path, **options: Any) -> AsyncIterator[tuple[World, Asker]]:
    """Start an owner over a file, and somebody who asks it."""
    url = f"sqlite:///{directory}/yard.db"
    async with world(url, **options) as it:
        known, reader = Directory(), create_reader(url)
        known.note(it.owner)
        with ThreadPoolExecutor(1) as threads:
            yield it, Asker(known, RunReader(reader, Background(threads)))
        reader.close()
