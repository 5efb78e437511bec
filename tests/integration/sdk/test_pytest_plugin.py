"""The plugin for pytest, as users have it: found by itself, nothing until it is used, as its page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "testing.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PLAIN = """
import sys

def test_nothing_was_imported():
    there = {name.partition(".")[0] for name in sys.modules}
    assert not there & {"grpc", "google", "pydantic", "cloudpickle"}
    assert "taskyard.testing.harness" not in sys.modules
"""
WHO = """
import os
from taskyard import flow, task

@task
def process_id():
    return os.getpid()

def test_who_executes(taskyard_harness):
    assert flow(lambda: process_id())() {0} os.getpid()
    assert taskyard_harness.options.slots == {1}
    assert taskyard_harness.options.retry_delay_factor == {2}
"""
OUTSIDE = """
import os
import pytest

def test_inside(taskyard_yard):
    assert os.environ["TASKYARD_SERVER"] == taskyard_yard.address

@pytest.fixture(scope="session", autouse=True)
def after_all():
    yield
    assert os.environ["TASKYARD_SERVER"] == "127.0.0.1:1"
"""


def run_pytest(directory: Path, source: str, *arguments: str, **more: str) -> str:
    """Run pytest on a file and return what it printed."""
    (directory / "test_it.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments, "test_it.py"],
        cwd=directory,
        env={**environment, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_it_costs_nothing_until_it_is_used(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(tmp_path, PLAIN)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_page_pass(number: int, tmp_path: Path) -> None:
    if "def test_" not in EXAMPLES[number]:  # for a conftest
        (tmp_path / "conftest.py").write_text(EXAMPLES[number])
        said = run_pytest(tmp_path, OUTSIDE.partition("@pytest")[0])
    else:
        said = run_pytest(tmp_path, EXAMPLES[number])
    assert re.search(r"^=+ \d passed in ", said, re.MULTILINE), said


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (
            [
                "-o",
                "taskyard_slots=1",
                "-o",
                "taskyard_retry_delay_factor=0.5",
                "-o",
                "taskyard_task_runner=threads",
            ],
            {"TASKYARD_TASK_RUNNER": "agents"},
            ("==", 1, 0.5),
        ),
        (["--taskyard-task-runner", "threads"], {}, ("==", os.cpu_count(), 0)),
        (
            ["--taskyard-task-runner=agents", "-o", "taskyard_task_runner=threads"],
            {"TASKYARD_TASK_RUNNER": "threads"},
            ("!=", os.cpu_count(), 0),
        ),
    ],
)
def test_options_choose_who_executes(
    arguments: list[str], variables: dict[str, str], expected: tuple[str, int, float], tmp_path: Path
) -> None:
    said = run_pytest(tmp_path, WHO.format(*expected), *arguments, **variables)
    assert "1 passed" in said, said


def test_an_option_that_is_no_number_is_refused(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, OUTSIDE, "-o", "taskyard_slots=many")
    assert "taskyard_slots is 'many', which is no number" in said


def test_variables_are_as_before_after_the_session(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, OUTSIDE, TASKYARD_SERVER="127.0.0.1:1")
    assert "1 passed" in said, said


def test_it_is_there_once_however_it_is_asked_for(tmp_path: Path) -> None:
    name = "taskyard.testing.pytest_plugin"
    (tmp_path / "conftest.py").write_text(f'pytest_plugins = ["{name}"]\n')
    assert "1 passed" in run_pytest(tmp_path, PLAIN, "-p", name)
    assert "1 passed" in run_pytest(tmp_path, PLAIN, "-p", name, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
