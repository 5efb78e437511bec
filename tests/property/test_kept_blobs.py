"""Blobs against a model: what somebody needs is never removed, and what nobody needs goes in the end.

A history is made of programs that come, submit runs with large arguments, and go; of runs that end with large
results, or take them from the cache; of people who prune; of single steps in the removal of blobs, which may
fail halfway while others submit; and of kills of the control plane between any two of them.
"""

import asyncio
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from support.depth import examples
from support.memory_blobs import MemoryBlobs
from support.owner_harness import Client, World, lose

from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_api.v1.session_service_pb2 import RunOutcome
from taskyard_contract.blobs.names import result_name
from taskyard_contract.errors import Overloaded, StorageUnavailable
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FIRST_FINAL, ReportKind, RunState, StateReason
from taskyard_controlplane.owner.leaving_blobs import TOLD_SECONDS
from taskyard_controlplane.owner.retention.policy import Policy

NOW = Policy(runs_us=0, logs_us=0)
NAMES = ["b3-" + digit * 64 for digit in "01"]
CODES = [sha256(name.encode()).digest() for name in NAMES]
"""Of the tasks; each content is given to runs of one of its own."""
KEYS = ["", "one", "two"]
GRACE = 61.0
STORING = ["late", "sees it", "asks"]
A_DAY = 90_000.0

submissions = st.tuples(
    st.sampled_from([0, 0, 0, 1]), st.sampled_from(NAMES), st.sampled_from(KEYS), st.booleans()
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), submissions),
        st.tuples(st.just("work"), submissions),
        st.tuples(st.just("work"), submissions),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 1)),
        st.tuples(st.just("let go"), st.integers(0, 1)),
        st.tuples(st.just("clear"), st.sampled_from(KEYS[1:])),
        st.tuples(st.just("prune"), st.none()),
        st.tuples(st.just("leave and prune"), st.just(0)),
        st.tuples(st.just("store"), st.tuples(st.sampled_from(NAMES), st.booleans())),
        st.tuples(st.just("doom"), st.tuples(st.integers(0, 3), submissions)),
        st.tuples(st.just("remove"), st.booleans()),
        st.tuples(st.just("race"), st.tuples(st.integers(0, 8), submissions, st.sampled_from(STORING))),
        st.tuples(st.just("sweep"), st.none()),
        st.tuples(st.just("pass time"), st.sampled_from([1.0, GRACE, GRACE, TOLD_SECONDS, A_DAY])),
        st.tuples(st.just("kill"), st.none()),
    ),
    min_size=8,
    max_size=20,
)


@dataclass
class Known:
    """A run, as far as the model knows it."""

    session: int
    arguments: str
    upstream: bytes | None
    key: str
    is_open: bool = True
    results: set[str] = field(default_factory=set)


class TornBlobs(MemoryBlobs):
    """Bytes whose removal may fail after the first one."""

    tears = False

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        gone = super().remove_unused(name, since_us)
        if self.tears:
            raise StorageUnavailable("the disk is gone")
        return gone


class History:
    """What happens to a database, and what is known of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds = 1_000.0
        self.blobs = TornBlobs(lambda: self.world.clock.now_us())
        self.runs: dict[bytes, Known] = {}
        self.entries: dict[str, set[str]] = {}
        self.ids = [new_id(), new_id()]
        self.clients: list[Client] = []
        self.stored_at: dict[str, float] = {}

    async def begin(self) -> None:
        """Start an owner; everybody comes back."""
        self.world = World(self.url, blob_bytes=self.blobs)
        self.world.clock.seconds = self.seconds
        await self.world.start()
        await self.world.settle()
        self.agent = self.world.agent(new_id().hex())
        self.clients = [self.world.client(session_id, stream_number=2) for session_id in self.ids]

    @property
    def removal(self) -> Any:
        return self.world.owner.retention.blobs

    # Steps.

    async def submit(self, what: tuple[int, str, str, bool]) -> None:
        number, name, key, follows = what
        client = self.clients[number]
        upstream = next(
            (run_id for run_id, run in reversed(self.runs.items()) if run.session == number), None
        )
        upstream = upstream if follows else None
        if self.world.clock.seconds - self.stored_at.get(name, -A_DAY) >= TOLD_SECONDS - 1:
            await self.store((name, True))
        values = [common_pb2.BlobRef(name=name, size=1)]
        payload = common_pb2.Payload(data=b"args", encoding="python/pickle5", values=values)
        [run_id] = await client.submit(
            args=[], extras=[payload], cache_keys=[key], upstream=[(0, upstream)] if upstream else None,
            name=name, code=template_pb2.Code(blob_digest=CODES[NAMES.index(name)]),
        )  # fmt: skip
        await self.world.settle()
        client.receive()
        assert run_id not in client.refused
        self.runs[run_id] = Known(number, name, upstream, key)

    async def store(self, what: tuple[str, bool]) -> None:
        """Store a content, as a program does that sees the directory, or one that asks the control plane."""
        name, sees_it = what
        leaving = self.world.shard.leaving
        if sees_it:
            self.blobs.put(name)
        elif leaving.told([name]) or name not in self.blobs.blobs:
            while leaving.told([name]):
                await leaving.gone(name)
            self.blobs.put(name)
        self.stored_at[name] = self.world.clock.seconds

    async def end(self, fails: bool) -> None:
        await self.world.settle()
        self.agent.receive()
        for run_id, epoch in self.agent.assigned.items():
            run = self.runs.get(run_id)
            if run is None or not run.is_open or run_id not in self.agent.agent.held:
                continue
            name = self.blobs.put(result_name(run_id, epoch))
            ref = common_pb2.BlobRef(name=name, size=1)
            result = common_pb2.Payload(encoding="python/pickle5", blob=ref)
            if fails:
                self.agent.report([run_id], kind=ReportKind.FAILED.value, failure={"encoded": result})
            else:
                self.agent.report([run_id], kind=ReportKind.SUCCEEDED.value, result=result)
            return

    async def work(self, what: tuple[int, str, str, bool]) -> None:
        await self.submit(what)
        await self.end(fails=False)

    async def leave(self, number: int) -> None:
        """End a session; the next one begins."""
        await self.clients[number].send(goodbye=True)
        await self.world.settle()
        self.ids[number] = new_id()
        self.clients[number] = self.world.client(self.ids[number], stream_number=1)
        for run in self.runs.values():
            if run.session == number:
                run.session = -1
        await self.look()  # what had not begun has ended with it

    async def let_go(self, number: int) -> None:
        """Hold no future of what was submitted so far."""
        await self.clients[number].send(holds_from=new_id())
        for run in self.runs.values():
            if run.session == number:
                run.session = -1

    async def leave_and_prune(self, number: int) -> None:
        await self.leave(number)
        await self.prune(None)

    async def clear(self, key: str) -> None:
        await self.world.owner.cache.key(key)
        self.entries.pop(key, None)

    async def prune(self, _: None) -> None:
        try:
            async for _removed in self.world.owner.retention.prune(NOW):
                event("pruned")
        except Overloaded:
            event("pruning was refused")  # right after a kill

    async def doom(self, beside: tuple[int, tuple[int, str, str, bool]]) -> None:
        turns, submission = beside
        dooming = asyncio.get_running_loop().create_task(self.removal.doom())
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.submit(submission)
        await dooming

    async def remove(self, tears: bool) -> None:
        self.blobs.tears = tears
        if await self.removal.remove():
            event("bytes were removed")
        self.blobs.tears = False

    async def race(self, how: tuple[int, tuple[int, str, str, bool], str]) -> None:
        """Remove everything that nobody needs, while somebody stores and submits some of it again."""
        turns, submission, storing = how
        await self.leave_and_prune(1)
        await self.leave_and_prune(0)
        self.world.clock.seconds += TOLD_SECONDS
        name = submission[1]
        if storing != "late":
            await self.store((name, storing == "sees it"))
        removing = asyncio.get_running_loop().create_task(self.removal.remove())
        for _ in range(turns):
            await asyncio.sleep(0)
        if storing == "late":
            await self.store((name, turns % 2 == 0))
        await self.submit(submission)
        if await removing:
            event(f"bytes were removed beside a submission, stored: {storing}")
        for _ in range(3):
            await self.removal.doom()
            self.world.clock.seconds += GRACE
            await self.removal.remove()
            await self.look()

    async def sweep(self, _: None) -> None:
        await self.removal.sweep(self.world.owner.retention._pace.pause)
        if await self.removal.remove_orphans(self.world.owner.retention._pace.pause):
            event("orphans were removed")

    async def pass_time(self, seconds: float) -> None:
        if seconds == A_DAY:
            self.world.clock.seconds += seconds
        else:
            for _ in range(round(seconds / 5) or 1):
                self.agent.heartbeat()
                await self.world.advance(5.0)

    async def kill(self, _: None) -> None:
        self.world.owner.retention.stop()
        await lose(self.world)
        self.seconds = self.world.clock.seconds
        await self.begin()

    # What has to hold.

    async def look(self) -> None:
        """Learn how runs ended, then see that everything is there that somebody needs."""
        await self.world.settle()
        store = self.world.store
        rows = {row.run_id: row for row in await self.world.ask(lambda: store.runs_by_id(list(self.runs)))}
        for run_id, run in self.runs.items():
            row = rows.get(run_id)
            if row is None or row.state < FIRST_FINAL or not run.is_open:
                continue
            run.is_open = False
            outcome = RunOutcome.FromString(row.outcome or b"")
            blobs = [outcome.result.blob.name, outcome.failure.encoded.blob.name]
            run.results = set(filter(None, blobs))
            if run.key and row.state == RunState.COMPLETED:
                if row.reason == StateReason.CACHED:
                    event("a cached result was taken")
                else:
                    self.entries[run.key] = run.results
        for run_id in self.needed_runs():
            assert run_id in rows, "a run that somebody needs was removed"
        missing = self.needed_blobs() - self.blobs.blobs.keys()
        assert not missing
        numbers = {row.template_id for row in rows.values()}
        templates = await self.world.ask(lambda: store.templates(sorted(numbers)))
        assert {row.template_id for row in templates} == numbers, "the template of a run was removed"

    def needed_runs(self) -> set[bytes]:
        needed = {run_id for run_id, run in self.runs.items() if run.is_open or run.session >= 0}
        return needed | {run.upstream for run in self.runs.values() if run.is_open and run.upstream}

    def needed_blobs(self) -> set[str]:
        runs = [self.runs[run_id] for run_id in self.needed_runs()]
        names = {run.arguments for run in runs}.union(*(run.results for run in runs))
        return names.union(*self.entries.values())

    async def finish(self) -> None:
        """Let everybody go; nothing may be left."""
        for number in range(2):
            await self.leave(number)
        for key in KEYS[1:]:
            await self.clear(key)
        for _ in range(20):  # whoever held runs before a kill does not come back
            self.agent.heartbeat()
            self.agent.receive()
            held = [self.agent.key(run_id) for run_id in self.agent.agent.held]
            self.agent.send(cancelled=held)
            await self.world.advance(5.0)
        assert not self.world.runs
        await self.prune(None)
        store = self.world.store
        assert len(await self.world.ask(lambda: store.templates(range(1, 1_000)))) <= 1, "but the newest one"
        self.world.clock.seconds += GRACE
        while await self.removal.doom() or await self.removal.remove():
            self.world.clock.seconds += TOLD_SECONDS
        self.world.clock.seconds += A_DAY
        await self.sweep(None)
        while await self.removal.doom() or await self.removal.remove():
            self.world.clock.seconds += GRACE
        assert not self.blobs.blobs
        assert not self.world.shard.leaving.due_us
        assert await self.removal.kept_bytes(self.world.owner.retention._pace.pause) == []


async def play(history: History, what: list[tuple[str, Any]]) -> None:
    await history.begin()
    try:
        for name, argument in what:
            await getattr(history, name.replace(" ", "_"))(argument)
            await history.look()
        await history.finish()
    finally:
        await history.world.owner.stop()


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_what_somebody_needs_stays_and_what_nobody_needs_goes(what: list[tuple[str, Any]]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "yard.db"
        asyncio.run(asyncio.wait_for(play(History(f"sqlite:///{path}"), what), 60))
