"""What the last release has stored is shown, and finished, by this one."""

import json
import signal
from pathlib import Path
from typing import Any

from support.programs import Program, Stage, eventually

PROGRAMS = Path(__file__).parent / "programs"
NEVER = "never"

OUTCOMES = {
    "plain": ("COMPLETED", "Completed", 1),
    "downstream": ("COMPLETED", "Completed", 1),
    "retried": ("COMPLETED", "Completed", 3),
    "neighbour": ("COMPLETED", "Completed", 1),
    "awkward": ("FAILED", "Failed", 1),
    "by_hand": ("COMPLETED", "Fine", 1),
    "failed_by_hand": ("FAILED", "Failed", 1),
    "cached": ("COMPLETED", "Completed", 1),
    "coroutine": ("COMPLETED", "Completed", 1),
    "large": ("COMPLETED", "Completed", 1),
    "unmapped": ("COMPLETED", "Completed", 1),
    "quoted": ("COMPLETED", "Completed", 1),
    "opaque": ("COMPLETED", "Completed", 1),
    "failure_allowed": ("COMPLETED", "Completed", 1),
    NEVER: ("PENDING", "NotReady", 1),
    "ordered": ("COMPLETED", "Completed", 1),
}
OUTCOMES_OF_BOTH = {
    "downstream_of_ended": ("COMPLETED", "Completed", 1),
    "value_of_ended": ("COMPLETED", "Completed", 1),
    "failure_of_ended": ("COMPLETED", "Completed", 1),
    "hit": ("COMPLETED", "Cached", 1),
    "between_attempts": ("COMPLETED", "Completed", 2),
}
VALUES = {
    "plain": "int 11",
    "downstream": "int 22",
    "retried": "int 3",
    "neighbour": "tuple (2, 4)",
    "awkward": "AwkwardError 7: odd",
    "by_hand": "dict {'a': 1}",
    "failed_by_hand": "FailedRun refused by hand",
    "cached": "int 9",
    "coroutine": "int 12",
    "large": "str str " + "x" * 192,
    "unmapped": "str list [1, 11]",
    "quoted": "str list [1, 2]",
    "opaque": "str list [1, 2]",
    "failure_allowed": "str AwkwardError 7: odd",
    "ordered": "int 5",
}
VALUES_OF_BOTH = {
    "downstream_of_ended": "int 33",
    "value_of_ended": "str tuple (2, 4)",
    "failure_of_ended": "str AwkwardError 7: odd",
    "hit": "int 9",
    "between_attempts": "int 2",
}

Outcomes = dict[str, tuple[str, str, int]]


def outcomes(stage: Stage, ids: dict[str, str]) -> Outcomes:
    """Return what the command line says of these runs."""
    runs = {run["id"]: run for run in stage.document("run", "ls", "--limit", "200")}
    shown = {label: runs[run_id] for label, run_id in ids.items()}
    return {label: (run["state"], run["state_name"], run["attempt"]) for label, run in shown.items()}


def values(stage: Stage, ids: dict[str, str]) -> dict[str, str]:
    """Return what a program that gets the runs' outcomes as arguments says of them."""
    ended = {label: run_id for label, run_id in ids.items() if label != NEVER}
    done = stage.run_file(PROGRAMS / "read_results.py", json.dumps(ended))
    assert done.returncode == 0, done.stderr
    described: dict[str, str] = json.loads(done.stdout)
    return described


def queue_with_former(former: Stage, database: str) -> dict[str, dict[str, str]]:
    """Let the last release execute and queue runs, and kill it before the queued ones are executed."""
    server = former.serve("--database", database)
    agent = former.work("--slots", "2")
    program = former.start_file(PROGRAMS / "queue_runs.py", str(former.home))
    ids: dict[str, dict[str, str]] = json.loads(program.line(60))
    between = ids["waiting"]["between_attempts"]
    eventually(lambda: former.document("run", "show", between)["attempt"] == 2, "an attempt has failed")
    kill(agent, server, program)
    return ids


def kill(*programs: Program) -> None:
    """``kill -9``."""
    for program in programs:
        program.end(signal.SIGKILL)


def shown_failure(stage: Stage, run_id: str) -> Any:
    """Return the failure in ``run show``, after a look at what people see."""
    assert "AwkwardError: 7: odd" in stage.call("run", "show", run_id).stdout
    return stage.document("run", "show", run_id)["failure"]


def test_a_run_queued_by_the_last_release_is_finished_by_this_one(
    former: Stage, present: Stage, database: str
):
    ids = queue_with_former(former, database)
    server = present.serve("--database", database)

    ended, waiting = ids["ended"], ids["waiting"]
    assert outcomes(present, ended) == OUTCOMES
    failure = shown_failure(present, ended["awkward"])
    assert failure["type"].endswith("AwkwardError")
    assert "in awkward" in failure["traceback"]

    agent = present.work("--slots", "2", "--queue", "default", "--queue", "later")
    expected = OUTCOMES | OUTCOMES_OF_BOTH

    def finished() -> bool:
        return outcomes(present, waiting) == expected

    try:
        eventually(finished, "what was queued is finished")
    except AssertionError:
        assert outcomes(present, waiting) == expected, server.log + agent.log
    assert "in awkward" in shown_failure(present, waiting["awkward"])["traceback"]

    assert values(present, ended) == VALUES
    cached = {"cached": "int 16"}  # another argument than before, because what is equal would be a hit
    assert values(present, waiting) == VALUES | VALUES_OF_BOTH | cached
    assert "Traceback" not in server.log + agent.log
