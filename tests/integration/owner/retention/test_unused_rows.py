"""Templates and names of agents that nothing needs any more: what goes, and what somebody may still name."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from support.owner_harness import Agent, World, kill_and_restart, play
from support.retention_scenes import NOW, ended, gone, prune

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunState
from taskyard_controlplane.owner.retention.policy import DAY_US, Policy

HOUR_US = 3600 * 1_000_000


async def names(it: World) -> list[str]:
    """Return the names of the templates in the database."""
    return [row.name for row in await it.ask(lambda: it.store.templates(range(1, 100)))]


async def over(it: World, *tasks: str, agent: Agent | None = None) -> None:
    """Have a program that ran some tasks, and is gone; after it another one, whose template is the newest."""
    client, agent = it.client(stream_number=1), agent or it.agent()
    for task in tasks:
        await ended(it, agent, await client.submit(name=task), value=b"small")
    await gone(it, client)
    client = it.client(stream_number=1)
    await ended(it, agent, await client.submit(name="newest"), value=b"small")
    await gone(it, client)


async def submit_again(it: World, client: Any, index: int) -> bytes:
    """Submit a run of a template that was sent on this stream before."""
    client.number += 1
    [run_id] = new_ids(1)
    group = sp.RunGroup(template=index, run_ids=[run_id], args=[b"args"])
    await client.send(submit=sp.SubmitBatch(number=client.number, groups=[group]))
    await it.settle()
    return run_id


def test_templates_that_no_run_names_go() -> None:
    async def scenario(it: World) -> None:
        await over(it, "one", "two")
        assert await names(it) == ["one", "two", "newest"]
        removed = await prune(it, NOW)
        assert (removed.runs, removed.templates) == (3, 2)
        assert await names(it) == ["newest"], "its number must not be given to another one"
        assert (await prune(it, NOW)).templates == 0

    play(scenario)


def test_templates_of_runs_that_are_kept_stay() -> None:
    async def scenario(it: World) -> None:
        await over(it, "one")
        assert (await prune(it, Policy(runs_us=DAY_US))).templates == 0
        assert await names(it) == ["one", "newest"]

    play(scenario)


def test_the_template_of_a_cached_result_stays_as_long_as_that() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(stream_number=1), it.agent()
        await ended(it, agent, await client.submit(name="cached", cache_keys=["key"]), value=b"small")
        await gone(it, client)
        await over(it, agent=agent)
        removed = await prune(it, NOW)
        assert (removed.runs, removed.templates) == (2, 0)
        client = it.client(stream_number=1)
        [hit] = await client.submit(name="cached", cache_keys=["key"])
        await it.settle()
        assert client.state_of(hit) == RunState.COMPLETED
        await gone(it, client)
        await it.owner.cache.key("key")
        assert (await prune(it, NOW)).templates == 1

    play(scenario)


def test_what_a_connected_program_has_sent_stays_also_over_its_streams() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(stream_number=1), it.agent()
        await ended(it, agent, await client.submit(name="one"), value=b"small")
        await client.send(holds_from=new_id())
        await over(it, "two", agent=agent)
        removed = await prune(it, NOW)
        assert (removed.runs, removed.templates) == (3, 1)
        again = it.client(client.session.session_id, stream_number=2)
        await prune(it, NOW)
        assert await names(it) == ["one", "newest"], "its code is not sent again"
        await gone(it, again)
        assert (await prune(it, NOW)).templates == 1

    play(scenario)


def test_a_template_of_which_a_program_says_only_the_index_is_there() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(stream_number=1), it.agent()
        await ended(it, agent, await client.submit(name="one"), value=b"small")
        await client.send(holds_from=new_id())
        await over(it, agent=agent)
        await prune(it, NOW)
        run_id = await submit_again(it, client, index=1)
        await ended(it, agent, [run_id], value=b"small")
        assert client.state_of(run_id) == RunState.COMPLETED

    play(scenario)


def test_nothing_goes_that_a_program_may_have_sent_to_an_owner_before(tmp_path: Any) -> None:
    session_id = new_id()

    async def before(it: World) -> None:
        client, agent = it.client(session_id, stream_number=1), it.agent()
        await ended(it, agent, await client.submit(name="one"), value=b"small")
        await over(it, agent=agent)

    async def after(it: World) -> None:
        await it.advance(40.0)
        client = it.client(session_id, stream_number=2)
        await client.send(holds_from=new_id())
        await over(it, "two", "three")
        removed = await prune(it, NOW)
        assert (removed.runs, removed.templates) == (5, 1)
        assert await names(it) == ["one", "newest", "three"], "but what has come since then, the newest stays"
        await gone(it, client)
        assert (await prune(it, NOW)).templates == 2

    kill_and_restart(tmp_path / "yard.db", before, after)


def test_what_went_is_recorded_anew_when_somebody_sends_it() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent()
        await over(it, "one", agent=agent)
        await prune(it, NOW)
        client = it.client(stream_number=1)
        [run_id] = await client.submit(name="one")
        await ended(it, agent, [run_id], value=b"small")
        assert client.state_of(run_id) == RunState.COMPLETED
        assert await names(it) == ["newest", "one"]

    play(scenario)


class Held:
    """Holds up a removal of templates on the writer's thread, until the test goes on."""

    def __init__(self, it: World, errors: Sequence[Exception] = ()) -> None:
        self._rows, self._errors = it.store.unused, list(errors)
        self._remove = self._rows.remove_templates
        self._rows.remove_templates = self._held  # type: ignore[method-assign]
        self._loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.tries = 0

    def _held(self, template_ids: Sequence[int]) -> int:
        self.tries += 1
        removed = self._remove(template_ids)
        self._loop.call_soon_threadsafe(self.begun.set)
        if self._errors:
            raise self._errors.pop(0)
        return removed


@pytest.mark.parametrize("turns", range(12))
def test_who_sends_a_template_while_it_goes_gets_it_back(turns: int) -> None:
    async def scenario(it: World) -> None:
        agent = it.agent()
        await over(it, "one", "two", agent=agent)
        client = it.client(stream_number=1)
        pruning = asyncio.get_running_loop().create_task(prune(it, NOW))
        held = Held(it)
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns % 2:
            await held.begun.wait()
        [run_id] = await client.submit(name="one")
        await pruning
        await ended(it, agent, [run_id], value=b"small")
        assert client.state_of(run_id) == RunState.COMPLETED
        [row] = await it.ask(lambda: it.store.runs_by_id([run_id]))
        assert [each.name for each in await it.ask(lambda: it.store.templates([row.template_id]))] == ["one"]

    play(scenario)


def test_who_has_read_a_template_that_goes_before_he_can_use_it_reads_again() -> None:
    async def scenario(it: World) -> None:
        await over(it, "one")
        client, held = it.client(stream_number=1), Held(it)
        committer, run = it.shard.committer, it.shard.committer.run
        read, late = asyncio.Event(), asyncio.Event()

        async def delivered_late(job: Any) -> Any:
            rows = await run(job)
            read.set()
            await late.wait()
            return rows

        committer.run = lambda job: asyncio.ensure_future(delivered_late(job))
        it.shard.templates.let_go([1])
        submitting = asyncio.get_running_loop().create_task(client.submit(name="one"))
        await asyncio.sleep(0)
        committer.run = run
        await read.wait()
        pruning = asyncio.get_running_loop().create_task(prune(it, NOW))
        await held.begun.wait()
        late.set()
        [run_id] = await submitting
        await pruning
        assert it.runs[run_id].template.template_id == 3, "recorded anew"
        assert "one" in await names(it)

    play(scenario)


def test_a_removal_without_an_answer_is_repeated_before_anybody_reads_what_it_was_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskyard_controlplane.owner.retention.unused.AGAIN_SECONDS", 0.0)

    async def scenario(it: World) -> None:
        await over(it, "one")
        held = Held(it, [StorageUnavailable("no answer"), StorageUnavailable("no answer")])
        assert (await prune(it, NOW)).templates == 0, "it went the first time"
        assert held.tries == 3
        assert await names(it) == ["newest"]
        [run_id] = await it.client(stream_number=1).submit(name="one")
        await it.settle()
        assert run_id in it.runs

    play(scenario)


def test_a_removal_goes_on_when_whoever_prunes_leaves() -> None:
    async def scenario(it: World) -> None:
        await over(it, "one")
        held = Held(it)
        pruning = asyncio.get_running_loop().create_task(prune(it, NOW))
        await held.begun.wait()
        pruning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pruning
        await it.settle()
        assert await names(it) == ["newest"]
        [run_id] = await it.client(stream_number=1).submit(name="one")
        assert run_id in it.runs

    play(scenario)


def test_runs_submitted_while_it_is_looked_keep_their_template() -> None:
    """Also those that leave memory at once, as rows of the backlog, and whose program is gone by then."""

    async def scenario(it: World) -> None:
        await over(it, "one")
        rows, read = it.store.unused, it.store.unused.named_by_entries
        looked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def noted(after: str, limit: int) -> Any:
            loop.call_soon_threadsafe(looked.set)
            return read(after, limit)

        rows.named_by_entries = noted  # type: ignore[method-assign]
        client = it.client(stream_number=1)
        pruning = asyncio.get_running_loop().create_task(prune(it, NOW))
        await looked.wait()
        ids = await client.submit(50, name="one", queue="nobody")
        await client.submit(name="last", queue="nobody")
        await pruning
        rest = await it.ask(lambda: it.store.runs_by_id(ids))
        assert len(await it.ask(lambda: it.store.templates([rest[0].template_id]))) == 1

    play(scenario, window=2)


# Names of agents.


async def worked(it: World, agent_id: str) -> None:
    """Have an agent that executed something and is lost."""
    client, agent = it.client(stream_number=1), it.agent(agent_id)
    await ended(it, agent, await client.submit(), value=b"small")
    await gone(it, client)
    agent.disconnect()
    await it.advance_slowly(40.0, step=4.0)
    assert agent_id not in it.shard.roster.agents


async def recorded(it: World) -> set[str]:
    """Return which agents have a name in the database."""
    return set(await it.ask(lambda: it.store.agent_numbers({"one", "two", "three"})))


def test_names_of_agents_go_that_no_run_was_with_for_as_long_as_runs_are_kept() -> None:
    async def scenario(it: World) -> None:
        for agent_id in ("one", "two", "three"):
            await worked(it, agent_id)
        hour = Policy(runs_us=HOUR_US)
        await it.ask(lambda: it.store.removals.remove_runs([1, 2, 3], it.clock.now_us()))
        assert (await prune(it, hour)).agents == 0
        it.clock.seconds += HOUR_US / 1e6
        assert (await prune(it, hour)).agents == 2
        assert await recorded(it) == {"three"}, "the newest number must not be given to another one"

    play(scenario)


def test_the_name_of_an_agent_stays_while_a_run_says_that_it_ran_there() -> None:
    async def scenario(it: World) -> None:
        await worked(it, "one")
        await worked(it, "two")
        it.clock.seconds += HOUR_US / 1e6
        assert (await prune(it, Policy(runs_us=DAY_US))).agents == 0
        removed = await prune(it, NOW)
        assert (removed.runs, removed.agents) == (2, 1)

    play(scenario)


def test_the_name_of_an_agent_that_is_here_stays() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(stream_number=1), it.agent("one")
        await ended(it, agent, await client.submit(), value=b"small")
        await gone(it, client)
        client, other = it.client(stream_number=1), it.agent("two", queues=("other",))
        await ended(it, other, await client.submit(queue="other"), value=b"small")
        await gone(it, client)
        assert (await prune(it, NOW)).agents == 0
        assert await recorded(it) == {"one", "two"}

    play(scenario)
