"""The examples do what they say, with nothing running and nothing configured."""

import json
import re
from pathlib import Path

import pytest
from support.programs import Stage

EXAMPLES = Path(__file__).parents[2] / "examples"
APART = {"quickstart.py", "background_tasks.py"}
OTHERS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in APART)


def served(printed: str) -> tuple[int, int]:
    """Return how many files were measured, and how many came from the cache."""
    counted = re.search(r"([\d,]+) measured now, ([\d,]+) served from the cache", printed)
    assert counted, printed
    return int(counted[1].replace(",", "")), int(counted[2].replace(",", ""))


def test_quickstart_is_served_from_the_cache_the_second_time(stage: Stage):
    first = stage.run_file(EXAMPLES / "quickstart.py")
    assert first.returncode == 0, first.stderr
    files, cached = served(first.stdout)
    assert files > 300
    assert cached == 0
    assert int(re.search(r"(\d+) files took more than one attempt", first.stdout)[1]) > 0
    second = stage.run_file(EXAMPLES / "quickstart.py")
    assert second.returncode == 0, second.stderr
    assert served(second.stdout) == (0, files)


def test_background_tasks_confirm_every_order_once(stage: Stage):
    done = stage.run_file(EXAMPLES / "background_tasks.py")
    assert done.returncode == 0, done.stderr
    confirmed = re.search(r"all were confirmed, by [12] workers: (.*)", done.stdout)
    assert sum(json.loads(confirmed[1])) == 40
    assert done.stdout.count("a worker ended with exit code 0") == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", OTHERS)
def test_example(stage: Stage, name: str):
    done = stage.run_file(EXAMPLES / name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr
