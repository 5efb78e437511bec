"""A flow run that has ended is taken up where it ended, and a plan says before what that will execute."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.plane_and_agent import Plane, end_sessions

from taskyard import flow, task, unmapped
from taskyard._network.session.session import Session
from taskyard._network.session.sessions import current_session
from taskyard.exceptions import MissingFlowError, ParameterBindError, RunNotFound, RunNotResumable
from taskyard.flow_runs import ResumePlan, plan_resumption, read_flow_run, resume_flow
from taskyard.futures import wait
from taskyard.runtime import flow_run
from taskyard.transactions import transaction

pytestmark = pytest.mark.usefixtures("plane")


def note(file: Path, line: object) -> None:
    with file.open("a") as opened:
        opened.write(f"{line}\n")


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ended(called: Callable[..., Any], *args: Any) -> UUID:
    """Call a flow; returns the id of its run, after the program has left the control plane."""
    state = called(*args, return_state=True)
    if asyncio.iscoroutine(state):
        state = asyncio.run(state)
    end_sessions()
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    return UUID(str(run_id))


def said(plan: ResumePlan) -> list[tuple[str, int, str, str]]:
    return [
        (call.name, runs.number, "reuse" if runs.reused else "rerun", runs.why)
        for call in plan.calls
        for runs in call.runs
    ]


@task
def load(log: Path, number: int) -> int:
    note(log, f"load-{number}")
    return number * 10


@task
def picky(log: Path, value: int) -> int:
    note(log, f"picky-{value}")
    if value == 20 and not log.with_suffix(".mended").exists():
        raise LookupError("not yet")
    return value + 1


@flow
def chain(log: Path) -> int:
    note(log, "body")
    first = load.submit(log, 2)
    other = load(log, 3)
    return picky(log, first) + other


def mend(log: Path) -> None:
    log.with_suffix(".mended").touch()


def test_row_115_and_c11_a_failed_run_is_resumed_without_repeating_what_is_done(log: Path) -> None:
    run_id = ended(chain, log)
    mend(log)
    assert resume_flow(run_id, flow=chain) == 51
    done = lines(log)
    assert done[-3:] == ["picky-20", "body", "picky-20"]
    assert sorted(done[:-3]) == ["body", "load-2", "load-3"]
    run = read_flow_run(run_id)
    assert (run.state.is_completed(), run.run_count, run.state.result()) == (True, 2, 51)


def test_the_history_keeps_both_attempts(log: Path) -> None:
    run_id = ended(chain, log)
    mend(log)
    resume_flow(run_id, flow=chain)
    states = current_session().client().list_run_states(run_id.bytes)
    assert [(int(one.state), one.attempt) for one in states if int(one.state) >= 100] == [(101, 1), (100, 2)]
    assert "LookupError" in next(one.message for one in states if int(one.state) == 101)


def test_a_run_that_fails_again_is_resumed_again(log: Path) -> None:
    run_id = ended(chain, log)
    with pytest.raises(LookupError):
        resume_flow(run_id, flow=chain)
    end_sessions()
    mend(log)
    assert resume_flow(run_id, flow=chain) == 51
    assert lines(log).count("picky-20") == 3
    assert lines(log).count("load-2") == lines(log).count("load-3") == 1
    assert read_flow_run(run_id).run_count == 3


def test_d3_a_plan_says_what_is_reused_and_what_is_executed_and_changes_nothing(log: Path) -> None:
    run_id = ended(chain, log)
    before = current_session().client().get_run(run_id.bytes)
    plan = plan_resumption(run_id, flow=chain)
    assert said(plan) == [
        ("load", 1, "reuse", "has completed"),
        ("load", 1, "reuse", "has completed"),
        ("picky", 1, "rerun", "had failed"),
    ]
    assert "the body asks how a run of 'picky' ended" in plan.ends
    assert (plan.reused, plan.executed) == (2, 1)
    assert current_session().client().get_run(run_id.bytes) == before
    assert lines(log).count("picky-20") == 1
    pages = list(current_session().client().call_pages(run_id.bytes))
    assert sum(len(page.run_ids) for page in pages) == 3


@flow
def mapped(log: Path, count: int) -> list[int]:
    loaded = load.map(unmapped(log), range(count))
    picked = picky.map(unmapped(log), loaded)
    wait(picked)
    if not log.with_suffix(".mended").exists():
        raise LookupError("some failed")
    return [each.result() for each in picked]


def test_d3_of_a_map_exactly_those_children_are_executed_that_had_failed(log: Path) -> None:
    run_id = ended(mapped, log, 40)
    log.write_text("")
    mend(log)

    @flow(name="mapped")
    def submits_only(log: Path, count: int) -> None:
        loaded = load.map(unmapped(log), range(count))
        picky.map(unmapped(log), loaded)

    plan = plan_resumption(run_id, flow=submits_only)
    assert said(plan) == [
        ("load", 40, "reuse", "has completed"),
        ("picky", 39, "reuse", "has completed"),
        ("picky", 1, "rerun", "had failed"),
    ]
    assert plan.ends == ""
    assert resume_flow(run_id, flow=mapped)[2:4] == [21, 31]
    assert lines(log) == ["picky-20"]


def test_new_calls_and_calls_with_other_arguments_are_executed(log: Path) -> None:
    run_id = ended(chain, log)

    @flow(name="chain")
    def edited(log: Path) -> int:
        first = load.submit(log, 2)
        second = load.submit(log, 4)
        return second.result() + picky(log, first)

    plan = plan_resumption(run_id, flow=edited)
    assert said(plan) == [
        ("load", 1, "reuse", "has completed"),
        ("load", 1, "rerun", "arguments differ: number"),
    ]
    mend(log)
    assert resume_flow(run_id, flow=edited) == 61
    assert lines(log)[-2:] == ["load-4", "picky-20"]


def version_of_load(text: str) -> Any:
    names: dict[str, Any] = {"__name__": __name__, "note": note, "Path": Path}
    exec(
        f"def load(log, number):\n    note(log, 'load-{text}')\n    return number * 10 + {len(text)}\n", names
    )
    return task(names["load"])


@pytest.mark.parametrize("policy", ["reuse", "rerun"])
def test_d3_edited_code_reuses_results_unless_it_is_asked_to_run_again(log: Path, policy: Any) -> None:
    used = [version_of_load("one")]

    @flow
    def versioned(log: Path) -> int:
        value: int = used[0](log, 1)
        return value + picky(log, 20)

    run_id = ended(versioned, log)
    used[0] = version_of_load("second")
    plan = plan_resumption(run_id, flow=versioned, changed_code=policy)
    why = {"reuse": "has completed; its code was changed since", "rerun": "its code was changed"}[policy]
    assert said(plan)[0] == ("load", 1, policy, why)
    mend(log)
    assert resume_flow(run_id, flow=versioned, changed_code=policy) == {"reuse": 34, "rerun": 37}[policy]
    assert lines(log).count("load-second") == {"reuse": 0, "rerun": 1}[policy]


@flow
def inner(log: Path, value: int) -> int:
    note(log, f"inner-{value}")
    return load(log, value // 10) + picky(log, value)


@flow
def outer(log: Path) -> int:
    return inner(log, 10) + inner(log, 20)


def test_b11_4_a_nested_flow_that_completed_is_reused_and_another_is_resumed(log: Path) -> None:
    run_id = ended(outer, log)
    plan = plan_resumption(run_id, flow=outer)
    assert said(plan) == [("inner", 1, "reuse", "has completed"), ("inner", 1, "rerun", "had failed")]
    mend(log)
    assert resume_flow(run_id, flow=outer) == 21 + 41
    done = lines(log)
    assert (done.count("inner-10"), done.count("inner-20"), done.count("load-2")) == (1, 2, 1)


@flow
async def in_a_loop(log: Path) -> int:
    loaded = load.submit(log, 2)
    return await loaded + picky(log, loaded)


def test_asynchronous_flows_are_resumed(log: Path) -> None:
    run_id = ended(in_a_loop, log)
    assert [each[:3] for each in said(plan_resumption(run_id, flow=in_a_loop))] == [
        ("load", 1, "reuse"),
        ("picky", 1, "rerun"),
    ]
    mend(log)
    assert asyncio.run(resume_flow(run_id, flow=in_a_loop)) == 41
    assert lines(log).count("load-2") == 1


def test_threads_execute_again_what_the_program_of_before_had_done(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", "threads")
    run_id = ended(chain, log)
    plan = plan_resumption(run_id, flow=chain)
    assert said(plan)[0][2:] == (
        "rerun",
        "no earlier run that can be compared: threads of a program record no arguments",
    )
    mend(log)
    assert resume_flow(run_id, flow=chain) == 51
    assert lines(log).count("load-2") == 2


@flow
def undone(log: Path) -> int:
    with transaction():
        load(log, 1)
        return picky(log, 20)


def test_calls_inside_transactions_are_executed_again(log: Path) -> None:
    run_id = ended(undone, log)
    mend(log)
    assert resume_flow(run_id, flow=undone) == 21
    assert lines(log).count("load-1") == 2


@flow
def large(log: Path, data: bytes) -> int:
    first = load.submit(log, len(data))
    return first.result() + measure(data) + picky(log, 20)


@task
def measure(data: bytes) -> int:
    return len(data)


def test_large_arguments_and_parameters_are_found_by_what_is_in_them(log: Path) -> None:
    run_id = ended(large, log, bytes(300_000))
    plan = plan_resumption(run_id, flow=large)
    assert [each[2] for each in said(plan)] == ["reuse", "reuse", "rerun"]
    mend(log)
    assert resume_flow(run_id, flow=large) == 3_300_021


def test_wrong_input_is_refused_with_what_to_do(log: Path) -> None:
    with pytest.raises(RunNotFound, match="there is no run"):
        resume_flow(uuid4(), flow=chain)
    with pytest.raises(ValueError, match="no id of a run"):
        resume_flow("chain", flow=chain)
    run_id = ended(chain, log)
    pages = current_session().client().call_pages(run_id.bytes)
    task_run = UUID(bytes=next(pages).run_ids[0])
    with pytest.raises(RunNotFound, match="is a task run; only flow runs are resumed"):
        resume_flow(task_run, flow=chain)
    with pytest.raises(ValueError, match="changed_code is one of 'reuse', 'rerun'"):
        resume_flow(run_id, flow=chain, changed_code="all")  # type: ignore[arg-type]

    @flow(name="chain")
    def renamed(file: Path) -> None: ...

    with pytest.raises(ParameterBindError, match="does not take the parameters"):
        resume_flow(run_id, flow=renamed)
    mend(log)
    assert resume_flow(run_id, flow=chain) == 51
    with pytest.raises(RunNotResumable, match="has completed"):
        resume_flow(run_id, flow=chain)
    assert resume_flow(run_id, flow=chain, completed=True) == 51
    assert lines(log).count("picky-20") == 2, "all of it is reused"


def test_a_run_that_is_still_executed_is_not_resumed(log: Path) -> None:
    refused: list[str] = []

    @flow
    def resumes_itself() -> None:
        client = current_session().client()
        run_id = UUID(flow_run.id).bytes
        with pytest.raises(RunNotResumable) as error:
            client.resume_run(run_id, current_session().session_id, 1, completed=False)
        refused.append(str(error.value))

    resumes_itself()
    assert "has not ended" in refused[0]


def test_of_two_who_resume_a_run_one_wins(log: Path, plane: Plane) -> None:
    run_id = ended(chain, log)
    session = current_session().open()
    client = session.client()
    assert client.resume_run(run_id.bytes, session.session_id, 1, completed=False) == 2
    assert client.resume_run(run_id.bytes, session.session_id, 1, completed=False) == 2, "a repeated call"
    other = Session(lambda: plane.address).open()
    with closing(other), pytest.raises(RunNotResumable, match="has not ended"):
        client.resume_run(run_id.bytes, other.session_id, 1, completed=False)


def test_a_flow_whose_place_is_not_known_has_to_be_named(log: Path) -> None:
    @flow
    def local(log: Path) -> int:
        return picky(log, 20)

    run_id = ended(local, log)
    with pytest.raises(MissingFlowError, match="nobody has recorded where flow 'local' is"):
        plan_resumption(run_id)


SCRIPT = """
from pathlib import Path
from taskyard import flow, task

@task
def step(log, number):
    with open(log, "a") as opened:
        opened.write(f"step-{number}\\\\n")
    if number == 2 and not Path(log + ".mended").exists():
        raise LookupError
    return number

@flow
def scripted(log):
    return step(log, 1) + step(log, 2)
"""


def test_the_flow_is_loaded_from_where_it_was(log: Path, tmp_path: Path) -> None:
    from taskyard.flows import load_flow_from_entrypoint

    script = tmp_path / "steps.py"
    script.write_text(SCRIPT.replace("\\\\n", "\\n"))
    run_id = ended(load_flow_from_entrypoint(f"{script}:scripted"), str(log))
    assert said(plan_resumption(run_id)) == [
        ("step", 1, "reuse", "has completed"),
        ("step", 1, "rerun", "had failed"),
    ]
    Path(f"{log}.mended").touch()
    assert resume_flow(run_id) == 3
    assert lines(log) == ["step-1", "step-2", "step-2"]
    script.unlink()
    with pytest.raises(MissingFlowError, match=r"cannot be loaded from .*steps\.py:scripted"):
        plan_resumption(run_id, completed=True)


def test_runs_after_a_restart_of_the_control_plane_are_resumed(log: Path, plane: Plane) -> None:
    run_id = ended(chain, log)
    session = current_session().open()
    session.client().resume_run(run_id.bytes, session.session_id, 1, completed=False)
    plane.server.kill()
    plane.server = plane.start_server()
    run = session.client().get_run(run_id.bytes)
    assert (int(run.state), run.attempt) == (4, 2), "it is open, and found again"


@task
def counted(log: Path, number: int) -> int:
    if not log.with_suffix(".mended").exists():
        if number % 73 == 0:
            raise LookupError
    else:
        note(log, number)
    return number


@flow
def wide(log: Path) -> int:
    futures = counted.map(unmapped(log), range(10_000))
    wait(futures)
    return sum(1 for each in futures if each.state.is_completed())


@flow
def raising(log: Path) -> int:
    completed = wide.fn(log)
    if completed < 10_000:
        raise LookupError(f"{10_000 - completed} failed")
    return completed


def test_d3_a_map_of_ten_thousand_of_which_137_failed(log: Path) -> None:
    run_id = ended(raising, log)
    mend(log)

    @flow(name="raising")
    def maps(log: Path) -> None:
        counted.map(unmapped(log), range(10_000))

    plan = plan_resumption(run_id, flow=maps)
    assert said(plan) == [
        ("counted", 137, "rerun", "had failed"),
        ("counted", 9_863, "reuse", "has completed"),
    ]
    assert resume_flow(run_id, flow=raising) == 10_000
    assert sorted(map(int, lines(log))) == list(range(0, 10_000, 73))
