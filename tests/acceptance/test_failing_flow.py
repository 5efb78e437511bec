"""A flow that fails does not wait for work nobody wants any more."""

import time

from support.programs import Stage

FAILING = """
import time
from taskyard import flow, task

@task
def nap(number):
    time.sleep(0.5)
    return number

@flow(name="failing")
def failing():
    naps = nap.map(range(200))
    naps[0].result()
    raise ValueError("enough")

try:
    failing()
except ValueError as error:
    print("raised", error)
"""


def test_a_failing_flow_withdraws_what_has_not_started(stage: Stage) -> None:
    stage.serve()
    stage.work("--slots", "2")
    started = time.monotonic()
    done = stage.run_script(FAILING)
    assert done.stdout.splitlines() == ["raised enough"], done.stderr
    assert time.monotonic() - started < 20
    states = [run["state_name"] for run in stage.document("run", "ls", "--limit", "500", "--json")]
    assert states.count("Failed") == 1
    assert states.count("Cancelled") > 150
    assert "Crashed" not in states
    assert states.count("Completed") >= 1
