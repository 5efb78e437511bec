"""A flow is killed at each step of its transaction: what is left is what there would be without that."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
from support.processes import installation

from taskyard._network.server.calls import Client
from taskyard_api.v1.run_service_pb2 import ListRunsRequest, RunFilter
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState

UNDONE: Final = ["did a", "did b", "undid b of 1", "undid a of 1"]
LATER: Final = ["did a", "did b", "undid b of 2", "undid a of 2"]
"""With the value that was set after the task runs."""
DONE: Final = ["did a", "did b"]

EFFECTS: Final = {
    "before-stage": UNDONE,
    "after-stage": UNDONE,
    "after-set": LATER,
    "during-commit-hooks": LATER,
    "after-record": DONE,
    "after-commit": DONE,
    "during-rollback": LATER,
    "rolled-back": LATER,
    "committed": DONE,
    "worker-dies": UNDONE,
    "asynchronous": UNDONE,
    "nested": [
        *("did a", "did b", "did kept", "did c", "undid c of outer"),
        *("undid inner itself", "undid b of inner", "undid a of outer"),
    ],
    "given-up": UNDONE,
    "nested-given-up": [
        *("did a", "did b", "undid inner itself", "undid b of inner", "undid a of outer"),
    ],
}
"""What each has done and undone, in this order."""
ENDS: Final = {"rolled-back": 1, "committed": 0}
"""The exit codes of those that are not killed."""
GIVEN_UP: Final = ("given-up", "nested-given-up")
"""Those that are stopped until all is undone, and then go on."""
SECONDS: Final = 60.0
KILLED: Final = len(EFFECTS) - len(ENDS)
FAILED_HOOKS: Final = RunFilter(task_name="rollback", states=[RunState.FAILED, RunState.CRASHED])  # type: ignore[list-item]
CRASHED: Final = RunFilter(kind=RunKind.FLOW, states=[RunState.CRASHED])  # type: ignore[arg-type, list-item]


@pytest.fixture(scope="module", params=["agents", "threads"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folders of all of them, which ran at once; the server is killed before anything is undone."""
    folder: Path = tmp_path_factory.mktemp("lost")
    with installation(folder, f"sqlite:///{folder / 'taskyard.db'}") as it:
        it.start_server()
        it.start_agent()
        programs = {}
        for step in EFFECTS:
            (folder / step).mkdir()
            programs[step] = it.start_client("undone", folder / step, step, request.param)
        for step in GIVEN_UP:
            status = psutil.Process(programs[step].pid).status
            it.wait_for(lambda: status() == psutil.STATUS_STOPPED, SECONDS, f"{step} stops")  # noqa: B023
        for step, program in programs.items():
            if step in GIVEN_UP:
                continue
            code = it.exit_code(program, SECONDS)
            if code != ENDS.get(step, -9):
                it.fail(f"{step}: ended with {code}")
        it.kill_server()
        it.start_server()
        client = Client(it.address)
        try:
            it.wait_for(lambda: _count(client, CRASHED) == KILLED, SECONDS, "all that were killed are lost")
            it.wait_for(lambda: _count(client, RunFilter(), is_open=True) == 0, SECONDS, "all is undone")
            if failed := list(client.list_runs(ListRunsRequest(filter=FAILED_HOOKS)).runs):
                it.fail(
                    "\n".join(f"{run.name}: {run.failure.message}\n{run.failure.traceback}" for run in failed)
                )
            for step in GIVEN_UP:
                programs[step].send(signal.SIGCONT)
                it.exit_code(programs[step], SECONDS)
        finally:
            client.close()
        yield folder


def _count(client: Client, wanted: RunFilter, *, is_open: bool = False) -> int:
    counts = client.count_runs(wanted).counts
    return sum(count.runs for count in counts if not is_open or count.state < FIRST_FINAL)


@pytest.mark.parametrize("step", EFFECTS)
def test_d9_effects_are_those_of_a_run_without_a_crash(played: Path, step: str) -> None:
    expected = EFFECTS[step]
    effects = (played / step / "effects").read_text().splitlines()
    if "undid b of 1" not in effects and step == "before-stage":
        # Its task run was executed by the very process that was killed, so it never completed.
        expected = ["did a", "did b", "undid a of 1"]
        assert "threads" in os.environ["PYTEST_CURRENT_TEST"]
    assert effects == expected
    assert (played / step / "records").exists() == (step in ("committed", "after-record", "after-commit"))
