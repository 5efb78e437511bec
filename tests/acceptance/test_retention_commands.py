"""``taskyard prune`` and ``taskyard storage show``, on a yard that has executed something."""

from support.programs import Stage

PROGRAM = """
from taskyard import flow, task
from taskyard.cache_policies import INPUTS

@task
def double(x):
    print("doubling", x)
    return 2 * x

@task(cache_policy=INPUTS)
def remembered(x):
    return x

@flow
def main():
    return sum(double.map(range(5)).result()) + remembered(1)

print(main())
"""


def test_what_is_over_is_removed_when_somebody_asks(stage: Stage):
    assert stage.run_script(PROGRAM).stdout.endswith("21\n")
    runs = stage.document("run", "ls")
    assert stage.document("prune")["runs"] == 0, "nothing is due"
    expected = stage.document("prune", "--dry-run", "--older-than", "0")
    assert expected["runs"] >= len(runs)
    assert len(stage.document("run", "ls")) == len(runs)
    unsaid = stage.call("prune", "--older-than", "0")
    assert (unsaid.returncode, len(stage.document("run", "ls"))) == (1, len(runs))
    assert "--yes" in unsaid.stderr
    removed = stage.document("prune", "--older-than", "0", "--yes", "--wait")
    assert removed["runs"] == expected["runs"]
    left = {run["id"] for run in stage.document("run", "ls")}
    assert not left
    gone = runs[0]["id"]
    shown = stage.call("run", "show", gone)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr
    assert stage.run_script(PROGRAM).stdout.endswith("21\n"), "a cached result is taken, whose run is gone"


def test_what_takes_the_room_is_shown(stage: Stage):
    stage.run_script(PROGRAM)
    document = stage.document("storage", "show")
    assert document["database_bytes"] > 0
    assert document["limit_bytes"] == 10 * 10**9
    shown = " ".join(stage.call("storage", "show").stdout.split())
    assert "runs are kept 30 days" in shown
    assert "logs are kept 14 days" in shown
