"""What a yard costs the tests of users: hundreds of them, each with a small flow, in seconds."""

import re
from pathlib import Path

import pytest
from support.programs import Stage

pytestmark = pytest.mark.slow

TESTS = 500
SECONDS = 60.0
"""They take about ten where nothing else goes on. What sleeps, or looks again after a while, in each of them
would show: 0.1 s of that is as much as all may take."""
BEGINNING = """
import pytest
from taskyard import flow, task

pytestmark = pytest.mark.usefixtures("taskyard_harness")

@task
def add(x, y=1):
    return x + y

@task(retries=1, retry_delay_seconds=60)
def second_time(x, path):
    if not path.exists():
        path.touch()
        raise OSError("again")
    return x
"""
BODIES = (
    "return {0}",
    "return add({0}, 0)",
    "return add.submit(add.submit({0} - 2)).result()",
    "return sum(add.map([{0} - 1, 0], [0, 1]).result())",
    "return second_time({0}, tmp_path / 'once')",
)


def source() -> str:
    tests = [
        f"def test_{number}(tmp_path):\n"
        f"    @flow\n    def main():\n        {BODIES[number % len(BODIES)].format(number)}\n"
        f"    assert main() == {number}\n"
        for number in range(TESTS)
    ]
    return "\n".join([BEGINNING, *tests])


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_five_hundred_tests_with_flows_take_seconds(runner: str, stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "test_many.py").write_text(source())
    command = [
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "--taskyard-task-runner",
        runner,
    ]
    done = stage.run_python(tmp_path, *command, seconds=170)
    said = re.search(rf"^{TESTS} passed in (\d+\.\d+)s", done.stdout, re.MULTILINE)
    assert said, done.stdout[-2000:] + done.stderr
    assert float(said[1]) < SECONDS
