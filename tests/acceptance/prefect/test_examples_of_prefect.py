"""What the documentation of Prefect 2 and 3 shows, in programs of our own: they print what it says they do.

Piped with tasks in agents and in threads, and in a terminal. What differs from Prefect is said in the
programs, and in docs/coming-from-prefect.md.
"""

from collections.abc import Iterator

import pytest
from support.prefect_examples import EXAMPLES, Example
from support.programs import Stage
from support.programs import stage as open_stage
from support.terminal import shown_of_file

SECONDS = 60.0


@pytest.fixture(scope="module", params=["agents", pytest.param("threads", marks=pytest.mark.slow)])
def yard(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage whose yard serves all examples, with tasks in agents or in threads."""
    with open_stage() as opened:
        opened.environment["TASKYARD_TASK_RUNNER"] = request.param
        started = opened.run_file(EXAMPLES[0].path)
        assert started.returncode == 0, started.stderr
        yield opened


@pytest.fixture(params=EXAMPLES, ids=lambda example: example.path.stem)
def example(request: pytest.FixtureRequest, yard: Stage) -> Example:
    """One of the programs, with nothing in the cache, and with all lines of the log if it is about them."""
    chosen: Example = request.param
    if "cache" in chosen.path.stem:
        cleared = yard.call("cache", "clear", "--all")
        assert cleared.returncode == 0, cleared.stderr
    yard.environment["TASKYARD_LOG_LEVEL"] = "DEBUG" if chosen.logs else "INFO"
    return chosen


def test_an_example_prints_what_it_says(yard: Stage, example: Example) -> None:
    done = yard.run_file(example.path, seconds=SECONDS)
    assert done.returncode == 0, done.stderr
    example.check_printed(done.stdout.splitlines())
    example.check_logged(done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("yard", ["agents"], indirect=True)
def test_an_example_shows_it_in_a_terminal(yard: Stage, example: Example) -> None:
    example.check_shown(shown_of_file(yard, example.path, SECONDS))
