"""What becomes of a commit when it is over."""

import gc
from collections.abc import Callable
from weakref import ref

from support.owner_harness import World, play

from taskyard_controlplane.owner.journal.commit import Commit


class Kept:
    """Something that a promise of a commit has."""


def promise(commit: Commit, said: list[Kept]) -> "Callable[[], Kept | None]":
    """Have a commit make a promise that knows the commit; returns whether somebody still has it."""
    kept = Kept()
    commit.then.append(lambda: said.append(kept) if commit.then is not None else None)
    return ref(kept)


def test_a_commit_is_gone_when_it_is_over_also_one_that_its_own_promises_know() -> None:
    """Thousands of runs are in one: to leave them to whoever looks for garbage cost a tenth of all time."""

    async def scenario(it: World) -> None:
        said: list[Kept] = []
        has = promise(it.shard.committer.open, said)
        it.shard.committer.touch()
        await it.settle()
        assert len(said) == 1
        said.clear()
        assert has() is None

    gc.disable()
    try:
        play(scenario)
    finally:
        gc.enable()
