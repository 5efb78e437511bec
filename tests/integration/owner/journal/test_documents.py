"""Cold documents are changed between commits, by the owner alone, and hold nobody else up."""

import asyncio
import itertools
from contextlib import closing

import pytest
from support.databases import Database
from support.owner_harness import World, assigned, play, world

from taskyard_contract.errors import InvalidRequest, NotOwner, StorageUnavailable
from taskyard_contract.states import RunState
from taskyard_controlplane.storage.interface import VersionConflict
from taskyard_controlplane.storage.interface.documents import NEW

_names = itertools.count(1)


def test_documents_change_while_runs_go_on() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()

        async def count_up() -> int:
            version = NEW
            for number in range(20):
                version = (await it.owner.documents.put("limit", "db", version, b"%d" % number)).version
            return version

        counting = asyncio.ensure_future(count_up())
        ids = [run_id for _ in range(20) for run_id in await client.submit(3)]
        reported: list[bytes] = []
        while len(reported) < len(ids):
            new = await assigned(it, agent)
            agent.report(new)
            reported += new
        version = await counting
        await it.settle()
        assert {client.state_of(run_id) for run_id in ids} == {RunState.COMPLETED}
        found = it.store.documents.get("limit", "db")
        assert found is not None
        assert (found.body, found.version) == (b"19", version)

    play(scenario)


def test_of_two_who_saw_the_same_only_one_changes_it() -> None:
    async def scenario(it: World) -> None:
        first = await it.owner.documents.put("limit", "db", NEW, b"1")
        changes = [it.owner.documents.put("limit", "db", first.version, body) for body in (b"2", b"3")]
        won, lost = await asyncio.gather(*changes, return_exceptions=True)
        assert isinstance(lost, VersionConflict)
        assert it.store.documents.get("limit", "db") == won
        with pytest.raises(VersionConflict):
            await it.owner.documents.delete("limit", "db", first.version)

    play(scenario)


def test_what_cannot_be_written_holds_no_commit_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        def refuse(*args: object) -> None:
            raise StorageUnavailable("out of order")

        monkeypatch.setattr(it.store.documents, "put", refuse)
        with pytest.raises(StorageUnavailable):
            await it.owner.documents.put("limit", "db", NEW, b"1")
        [run_id] = await it.client().submit()
        assert await assigned(it, it.agent()) == [run_id]
        assert not it.owner.stalled

    play(scenario)


def test_a_document_nobody_could_store_is_refused_at_once() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest):
            await it.owner.documents.put("limit", "", NEW, b"1")

    play(scenario)


def test_who_has_been_replaced_changes_no_document_and_ends() -> None:
    url = f"sqlite://?name=documents{next(_names)}"

    async def main() -> None:
        with closing(Database(url)) as database:
            async with world(url) as it:
                await it.owner.documents.put("limit", "db", NEW, b"1")
                database.replace_owner()
                with pytest.raises(NotOwner):
                    await it.owner.documents.put("limit", "pool", NEW, b"2")
                assert [type(error) for error in it.failed] == [NotOwner]
                assert database.count("document") == 1

    asyncio.run(asyncio.wait_for(main(), 20))
