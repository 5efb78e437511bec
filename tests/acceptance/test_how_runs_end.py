"""How runs end is said, whoever knows it: separate processes, and only what people see."""

import re
import signal
from collections import Counter

import pytest
from support.programs import Stage, eventually

BAD = """
import os, signal, time
from taskyard import flow, task

@task
def crash():
    os._exit(7)

@task(retries=1, retry_delay_seconds=0.1)
def fails():
    raise ValueError("boom")

@task
def after(x):
    return x

@task
def large():
    return bytes(200_000_000)

@flow(flow_run_name="bad ends")
def main():
    crash(return_state=True)
    large(return_state=True)
    after.submit(fails.submit()).wait()

main()
"""
LINES = {
    "crash-0": [
        *[f"; executed again at once, loss {loss} of at most 3" for loss in (1, 2, 3)],
        "Finished in state Crashed('the worker process left with exit code 7",
    ],
    "large-0": ["the result is 200,000,0"],
    "fails-0": [
        "Attempt 1 of 2 failed (ValueError: boom); next in 0.1 s",
        "Finished in state Failed('Task run encountered an exception ValueError: boom'), attempt 2 of 2",
    ],
    "after-0": ["Finished in state NotReady(\"Upstream task run 'fails-0' did not reach"],
    "bad ends": ["Beginning flow run", "Finished in state Completed()"],
}


def lines_of(text: str) -> dict[str, list[str]]:
    """Return what is said of each run, but not why it waits: that depends on how long this machine takes."""
    found: dict[str, list[str]] = {}
    for name, line in re.findall(r"[A-Z] +\| (?:(?:Task|Flow) run ')?([^']*?)'? - (.*)", text):
        if not re.match(r"waits|(about )?[\d,]+ runs wait", line):
            found.setdefault(name, []).append(line)
    return found


def test_each_retry_and_bad_end_is_one_line_in_the_terminal_and_in_run_logs(stage: Stage) -> None:
    stage.serve("--max-payload-bytes", "100000000")
    stage.work("--slots", "1")
    done = stage.run_script(BAD)
    logs = stage.call("run", "logs", "bad ends")
    for text in (done.stderr, logs.stdout):
        said = lines_of(text)
        assert said.keys() == LINES.keys(), text
        for name, parts in LINES.items():
            assert len(said[name]) == len(parts), text
            assert all(part in line for part, line in zip(parts, said[name], strict=True)), text


OPEN = """
import time
from taskyard import flow, task

@task
def nap(x):
    print("napping", flush=True)
    time.sleep(60)

@flow(flow_run_name="left")
def main():
    futures = nap.map(range(2_000))
    print("open", flush=True)
    futures[0].wait()

main()
"""


def test_a_cancelled_flow_says_of_its_runs_at_once_that_they_ended(stage: Stage) -> None:
    stage.serve()
    stage.work("--slots", "1")
    program = stage.start_script(OPEN)
    assert program.line() == "open"
    eventually(lambda: "Running" in stage.call("run", "show", "nap-0").stdout, "a run is executed")
    stage.call("run", "cancel", "left", "--reason", "enough")
    program.wait()
    logs = stage.call("run", "logs", "left").stdout
    for text in (program.log, logs):
        said = lines_of(text)
        assert said.keys() == {"left"}, text
        assert [line for line in said["left"] if "runs inside it" in line] == [
            "2,000 runs inside it were cancelled"
        ]
        assert re.fullmatch(r"Finished in state Cancelled\(.cancelled by .*: enough.\)", said["left"][-1])


@pytest.mark.chaos
def test_of_a_program_that_is_killed_the_log_is_complete(stage: Stage) -> None:
    stage.serve("--session-lease", "2")
    stage.work("--slots", "1")
    program = stage.start_script(OPEN)
    assert program.line() == "open"
    eventually(lambda: "Running" in stage.call("run", "show", "nap-0").stdout, "a run is executed")
    program.end(signal.SIGKILL)
    eventually(lambda: "Crashed" in stage.call("run", "show", "left").stdout, "the flow run is given up")
    said = lines_of(stage.call("run", "logs", "left").stdout)["left"]
    assert len([line for line in said if line.startswith("Finished in state Crashed")]) == 1


QUIET = """
from taskyard import flow, task

@task
def nothing(x):
    return x

@flow(flow_run_name="quiet")
def main():
    nothing.map(range(20_000)).result()

main()
"""


@pytest.mark.slow
def test_20_000_ordinary_runs_write_no_line(stage: Stage) -> None:
    stage.serve()
    stage.work("--slots", "2")
    done = stage.run_script(QUIET)
    recorded = lines_of(stage.call("run", "logs", "quiet").stdout)
    assert recorded == lines_of(done.stderr)
    assert Counter({name: len(lines) for name, lines in recorded.items()}) == {"quiet": 2}


LEVELS = """
import logging
from taskyard import flow, task

@task
def one(x):
    return x

@task
async def other(x):
    return x

@flow(flow_run_name="levels {level}")
def main(level):
    one(1)
    other.submit(2).result()

for level in ("INFO", "DEBUG", "INFO"):
    logging.getLogger("taskyard").setLevel(level)
    main(level)
"""


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_a_level_that_the_program_sets_counts_for_its_tasks_from_the_next_flow_run_on(
    stage: Stage, runner: str
) -> None:
    """Rule 69: lifecycle lines."""
    stage.serve()
    stage.work("--slots", "1")
    stage.environment["TASKYARD_TASK_RUNNER"] = runner
    done = stage.run_script(LEVELS)
    assert done.returncode == 0, done.stderr
    for text in (done.stderr, stage.call("run", "logs", "levels DEBUG").stdout):
        said = lines_of(text)
        assert said["one-0"] == said["other-0"] == ["Finished in state Completed()"], text
        created = [line for line in said["levels DEBUG"] if "task run" in line or "immediately" in line]
        assert created == [
            "Created task run 'one-0' for task 'one'",
            "Executing 'one-0' immediately...",
            "Created task run 'other-0' for task 'other'",
            "Submitted task run 'other-0' for execution.",
        ]
    quiet = ["Beginning flow run 'levels INFO' for flow 'main'", "Finished in state Completed()"]
    assert lines_of(done.stderr)["levels INFO"] == 2 * quiet
