"""Commits of a real owner, into which rows are put that no database can hold."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from support.owner_harness import Agent, Client, World
from support.storage_rows import bad_ends, bad_ends_of

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import ErrorReason
from taskyard_contract.states import FIRST_FINAL, ReportKind, RunState
from taskyard_controlplane.storage import create_reader

POISONED: Final = ("new_runs", "ended", "events", "logs", "cache", "templates")
"""Lists of a commit that this knows what to expect of."""

Choose = Callable[[int], int]
"""Draws a number below another one."""


class PoisonedYard:
    """A client, an agent and what was promised to both, while rows of their commits are spoiled."""

    def __init__(self, it: World, choose: Choose) -> None:
        self.it = it
        self.choose = choose
        self.client: Client = it.client()
        self.agent: Agent = it.agent(credit=10_000)
        self.batches: dict[int, list[bytes]] = {}
        self.acknowledged: list[int] = []
        self.reported: list[int] = []
        self.refusable: set[bytes] = set()
        """New runs whose rows, or those of their templates, were spoiled."""
        self.crashable: set[int] = set()
        """Numbers of recorded runs of which a row was spoiled."""
        self._watch_acknowledgements()

    def _watch_acknowledgements(self) -> None:
        client, agent = self.client.session, self.agent.agent
        of_client, of_agent = client.acknowledge, agent.acknowledge

        def acknowledge(number: int) -> None:
            self.acknowledged.append(number)
            self.check_recorded(number)
            of_client(number)

        def reported(number: int) -> None:
            self.reported.append(number)
            of_agent(number)

        client.acknowledge, agent.acknowledge = acknowledge, reported  # type: ignore[method-assign]

    def check_recorded(self, up_to: int) -> None:
        """Whatever is acknowledged is in the database, unless it is refused."""
        for number, ids in self.batches.items():
            if number <= up_to:
                stored = {row.run_id for row in self.it.store.runs_by_id(ids)}
                refused = {run.run_id for run in self.client.session._refused} | set(self.client.refused)
                assert set(ids) <= stored | refused, "acknowledged before it was durable"

    async def submit(self, count: int) -> None:
        retry = tp.RetryPolicy(max_retries=1, delays_ms=[1000])
        keys = [f"key {len(self.batches)}.{position}" for position in range(count)]
        ids = await self.client.submit(
            count, retry=retry, name=f"task{len(self.batches)}", cache_keys=keys if self.choose(2) else None
        )
        self.batches[self.client.number] = ids

    def report(self, failed: bool) -> None:
        """Report some of what the agent holds."""
        self.agent.receive()
        held = [run.run_id for run in self.agent.agent.held.values() if run.run_id in self.agent.assigned]
        some = held[: 1 + self.choose(len(held))] if held else []
        if some:
            self.agent.report(some, **({"kind": ReportKind.FAILED, "message": "no"} if failed else {}))

    def log(self) -> None:
        for run_id in list(self.agent.agent.held)[:2]:
            logs = sp.LogBatch(run_ids=[run_id], at_us=[1], levels=[20], loggers=["l"], messages=["m"])
            self.agent._reports += 1
            self.agent.send(report_number=self.agent._reports, logs=logs)

    async def cancel(self) -> None:
        ids = [run_id for batch in self.batches.values() for run_id in batch]
        if ids:
            await self.client.send(cancel=[ids[self.choose(len(ids))]])

    def spoil(self) -> None:
        """Let one row of the open commit hold what no column can."""
        rows = self.it.shard.committer.open.rows
        places = [(name, place) for name in POISONED for place in range(len(getattr(rows, name)))]
        if not places:
            return
        name, place = places[self.choose(len(places))]
        row = list(getattr(rows, name)[place])
        columns = [at for at, value in enumerate(row) if _spoilable(name, at, value)]
        column = columns[self.choose(len(columns))]
        row[column] = "\ud800" if isinstance(row[column], str) else (2**70, -(2**63) - 1)[self.choose(2)]
        getattr(rows, name)[place] = tuple(row)
        if name == "new_runs":
            self.refusable.add(row[1])
        elif name == "templates":
            self.refusable |= {new[1] for new in rows.new_runs if new[7] == row[0]}
        elif name in ("ended", "events"):
            self.crashable.add(row[-1] if name == "ended" else row[0])

    async def check(self) -> None:
        """Let everything end, and hold it against what was promised."""
        await self.it.settle()
        for _ in range(4):  # an attempt, its retry, and as much for those that waited for a key
            for run_id in [*self.it.runs]:
                self.agent.receive()
                if run_id in self.agent.agent.held:
                    self.agent.report([run_id])
            await self.it.advance(2)
        self.client.receive()
        self.agent.receive()
        assert self.acknowledged == sorted(self.acknowledged)
        assert self.reported == sorted(self.reported)
        assert self.client.acknowledged == self.client.number
        assert self.agent.acknowledged == self.agent._reports
        await self._check_runs()
        assert set(self.it.shard.kept().values()) == {0}, self.it.shard.kept()

    async def _check_runs(self) -> None:
        ids = [run_id for batch in self.batches.values() for run_id in batch]
        stored = {row.run_id: row for row in await self.it.ask(lambda: self.it.store.runs_by_id(ids))}
        with closing(create_reader(self.it.url)) as reader:
            assert bad_ends(reader) == bad_ends_of((row.seq, row.state) for row in stored.values())
        for run_id in ids:
            row, refused = stored.get(run_id), self.client.refused.get(run_id)
            assert (row is None) == (refused is not None) == (run_id in self.refusable)
            if row is None:
                assert refused is not None
                assert refused.error.reason == ErrorReason.INVALID_REQUEST
                continue
            assert row.state >= FIRST_FINAL
            assert self.client.state_of(run_id) == row.state
            crashed = row.state == RunState.CRASHED
            assert not crashed or row.seq in self.crashable
            if crashed:
                assert "cannot be stored: '" in self.client.outcomes[run_id].message


def _spoilable(name: str, column: int, value: Any) -> bool:
    """Whether a column holds a number or a text, and says neither what a row is about nor what it means."""
    kept = {
        "new_runs": (0, 3, 7),
        "ended": (10,),
        "events": (0,),
        "cache": (1,),
        "logs": (0,),
        "templates": (0,),
    }
    return isinstance(value, int | str) and column not in kept[name]
