"""What becomes of a commit when it is over."""

import gc
from weakref import ref

from support.owner_harness import World, play


class Kept:
    """Something that a promise of a commit has."""


def test_a_commit_is_gone_when_it_is_over_also_one_that_its_own_promises_know() -> None:
    """Thousands of runs are in one: waiting until somebody looks for garbage cost a tenth of all time."""

    async def scenario(it: World) -> None:
        commit, kept = it.shard.committer.open, Kept()
        gone = ref(kept)
        commit.then.append(lambda: print(commit, kept))
        it.shard.committer.touch()
        del commit, kept
        assert gone() is not None
        await it.settle()
        assert gone() is None

    gc.disable()
    try:
        play(scenario)
    finally:
        gc.enable()
