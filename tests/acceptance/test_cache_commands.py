"""``taskyard cache``: whose results programs are served, and no longer."""

from support.programs import Stage

PROGRAM = """
import os
from taskyard import flow, task
from taskyard.cache_policies import INPUTS

@task(cache_policy=INPUTS)
def measure(x):
    return os.urandom(8).hex()

@flow
def main():
    return measure.map(range(3)).result()

print(*main())
"""


def measured(stage: Stage) -> list[str]:
    done = stage.run_script(PROGRAM)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_results_are_looked_at_and_cleared(stage: Stage):
    first = measured(stage)
    assert measured(stage) == first
    entries = stage.document("cache", "ls", "--task", "measure")
    assert sorted(entry["run_name"] for entry in entries) == ["measure-0", "measure-1", "measure-2"]
    assert stage.document("cache", "show", entries[0]["key"]) == entries[0]
    shown = [
        stage.document("run", "show", run["id"]) for run in stage.document("run", "ls", "--task", "measure")
    ]
    cached = {run["cache_key"]: run["cached_run_id"] for run in shown if run["state_name"] == "Cached"}
    assert cached == {entry["key"]: entry["run_id"] for entry in entries}

    assert stage.call("cache", "clear", "--older-than", "1h").stdout == "removed 0 cached results\n"
    assert stage.call("cache", "clear", "--key", entries[0]["key"]).stdout == "removed 1 cached result\n"
    assert len(set(measured(stage)) & set(first)) == 2
    assert stage.call("cache", "clear", "--all").stdout == "removed 3 cached results\n"
    assert stage.call("cache", "ls").stdout == "no cached results\n"
    assert not set(measured(stage)) & set(first)


def test_the_run_whose_result_it_is_is_named_for_people(stage: Stage):
    measured(stage)
    measured(stage)
    [(key, run_id), *_] = [(entry["key"], entry["run_id"]) for entry in stage.document("cache", "ls")]
    shown = stage.call("cache", "show", key).stdout
    assert f"{run_id} (measure-" in shown
    missing = stage.call("cache", "show", "no such key")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "Traceback" not in missing.stderr
