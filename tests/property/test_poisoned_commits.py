"""Whatever rows of whatever commits no database can hold: their runs end, and nothing else does."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.depth import examples
from support.failing_properties import play_example
from support.owner_harness import world
from support.poisoned_commits import PoisonedYard

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "report", "fail", "log", "cancel"]), st.integers(0, 3), st.booleans()
    ),
    min_size=3,
    max_size=12,
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave out what is logged of each row: among that of hundreds of examples nobody finds anything."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.data())
def test_a_row_takes_along_its_run_and_nothing_else(
    steps: list[tuple[str, int, bool]], data: st.DataObject
) -> None:
    def choose(below: int) -> int:
        return data.draw(st.integers(0, below - 1))

    async def scenario() -> None:
        async with world() as it:
            yard = PoisonedYard(it, choose)
            await yard.submit(3)
            await it.settle()
            for what, spoiled, settled in steps:
                if what == "submit":
                    await yard.submit(1 + choose(15))
                elif what == "cancel":
                    await yard.cancel()
                elif what == "log":
                    yard.log()
                else:
                    yard.report(failed=what == "fail")
                for _ in range(max(0, spoiled - 1)):
                    yard.spoil()
                if settled:
                    await it.settle()
            await yard.check()

    play_example(scenario())
