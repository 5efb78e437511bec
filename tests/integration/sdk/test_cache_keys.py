"""What programs get from the cache: what they computed before, and nothing else."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from support.plane_and_agent import Plane

RUNNERS = pytest.mark.parametrize("runner", ["agents", "threads"])
HEAD = """
import dataclasses, datetime, enum, os, sys
from taskyard import flow, task, task_input_hash
from taskyard.cache_policies import INPUTS, TASK_SOURCE
key = sys.argv[1]
"""


class Programs:
    """Runs programs that share one part of their inputs, so that they know nothing of other tests."""

    def __init__(self, folder: Path, runner: str) -> None:
        self._folder = folder
        self._runner = runner
        self._key = uuid.uuid4().hex
        self.errors = ""

    def run(self, text: str, *, stdin: bool = False, seed: str = "0") -> list[str]:
        """Return the words that a program prints; it is a file of another folder each time."""
        place = self._folder / uuid.uuid4().hex / "main.py"
        place.parent.mkdir()
        place.write_text(HEAD + text)
        ended = subprocess.run(
            [sys.executable, "-" if stdin else str(place), self._key],
            input=HEAD + text if stdin else None,
            env={**os.environ, "TASKYARD_TASK_RUNNER": self._runner, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        self.errors = ended.stderr
        return ended.stdout.split()


@pytest.fixture
def programs(plane: Plane, tmp_path: Path, runner: str) -> Programs:
    return Programs(tmp_path, runner)


EDITED = """
RATE = 1

def helper():
    return "v1"

class Prices:
    start = 10

@task(cache_key_fn=task_input_hash)
def constant(key):
    return "v1"

@task(cache_policy=INPUTS + TASK_SOURCE)
def uses_helper(key):
    return helper()

@task(cache_policy=INPUTS + TASK_SOURCE)
def uses_rate(key):
    return RATE

@task(cache_policy=INPUTS + TASK_SOURCE)
def uses_class(key):
    return Prices.start

@task(cache_policy=INPUTS + TASK_SOURCE)
def stays(key):
    return os.urandom(4).hex()

@flow
def main():
    print(constant(key), uses_helper(key), uses_rate(key), uses_class(key), stays(key))

main()
"""


@RUNNERS
def test_an_edited_program_gets_nothing_that_the_edit_changes(programs: Programs) -> None:
    *first, unchanged = programs.run(EDITED)
    assert first == ["v1", "v1", "1", "10"]
    assert programs.run(EDITED, seed="1") == [*first, unchanged]
    edited = (
        EDITED.replace('"v1"', '"v2"').replace("RATE = 1", "RATE = 2").replace("start = 10", "start = 20")
    )
    assert programs.run(edited) == ["v2", "v2", "2", "20", unchanged]


@RUNNERS
def test_programs_without_a_file_are_known_by_their_code(programs: Programs) -> None:
    text = """
@task(cache_policy=INPUTS + TASK_SOURCE)
def price(x, key):
    return x * 2

@flow
def main():
    print(price(10, key))

main()
"""
    assert programs.run(text, stdin=True) == ["20"]
    assert programs.run(text.replace("x * 2", "x * 3"), stdin=True) == ["30"]


@RUNNERS
def test_tasks_of_one_factory_have_results_of_their_own(programs: Programs) -> None:
    text = """
def make(factor, **options):
    @task(**options)
    def times(x, key):
        return x * factor
    return times

@flow
def main():
    for options in ({"cache_policy": INPUTS + TASK_SOURCE}, {"cache_key_fn": task_input_hash}):
        print(*[make(factor, **options)(10, key) for factor in (2, 3)])

main()
"""
    assert programs.run(text) == ["20", "30"] * 2


VALUES = """
class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Order:
    number: int
    days: object
    def total(self):
        return self.number

@task
def make(key):
    return [Order(7, {datetime.date(2024, 1, day) for day in range(1, 9)}), Colour.RED, key]

@task(cache_policy=INPUTS)
def handle(values):
    return os.urandom(8).hex()

@flow
def main():
    made = make.submit(key)
    value = made.result()
    twice = [value[0], value[0]], [value[0], Order(7, set(value[0].days))]
    print(handle.submit(made).result(), handle(value), *[handle([one, key]) for one in twice])

main()
"""


@RUNNERS
def test_a_value_has_one_key_wherever_it_is_made_out_and_in_every_program(programs: Programs) -> None:
    in_worker, here, shared, equal = programs.run(VALUES, seed="1")
    assert (in_worker, shared) == (here, equal)
    assert programs.run(VALUES, seed="2") == [in_worker, here, shared, equal]
    edited = programs.run(VALUES.replace("return self.number", "return -self.number"))
    assert not set(edited) & {here, shared}


@RUNNERS
def test_a_key_that_is_shared_by_two_tasks_is_warned_of_once(programs: Programs) -> None:
    text = """
@task(cache_policy=INPUTS)
def double(x, key):
    return x * 2

@task(cache_policy=INPUTS)
def triple(x, key):
    return x * 3

@flow
def main():
    print(*[one(x, key) for x in (1, 2) for one in (double, triple)])

main()
"""
    assert programs.run(text) == ["2", "2", "4", "4"]
    assert programs.errors.count("'double' and 'triple' have the same cache key for equal inputs") == 1
