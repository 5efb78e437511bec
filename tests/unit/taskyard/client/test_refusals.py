"""What clients cannot do, they say."""

from typing import Any

import pytest

from taskyard import Cancelled, Cancelling, Completed, Paused, get_client
from taskyard.client import SyncTaskyardClient, TaskyardClient
from taskyard.client.orchestration.cancelling import check_state
from taskyard.client.schemas.filters import LogFilter
from taskyard.client.schemas.sorting import FlowRunSort
from taskyard.exceptions import NotSupported, ObjectNotFound, RunNotFound
from taskyard.states import State
from taskyard_contract.errors import BY_REASON, ErrorReason
from taskyard_contract.states import RunKind


def test_clients_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_SERVER", "127.0.0.1:1")
    waiting, blocking = get_client(), get_client(sync_client=True)
    assert (type(waiting), type(blocking)) == (TaskyardClient, SyncTaskyardClient)
    assert waiting.api_url == blocking.api_url == "127.0.0.1:1"
    with pytest.raises(NotSupported, match="httpx_settings cannot be used: calls are gRPC"):
        get_client(httpx_settings={"timeout": 5})


def test_both_clients_have_the_same_calls() -> None:
    names = [
        {name for name in vars(kind) if not name.startswith("_")}
        for kind in (TaskyardClient, SyncTaskyardClient)
    ]
    assert names[0] == names[1] - {"close"}


def test_an_asynchronous_client_is_not_entered_like_a_blocking_one() -> None:
    with pytest.raises(RuntimeError, match="async with get_client"), get_client():
        pass


@pytest.mark.parametrize("kind", [TaskyardClient, SyncTaskyardClient])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("create_flow_run_from_deployment", "deployments and schedules are not in this release"),
        ("create_flow_run", "runs are made by calling tasks and flows"),
        ("set_flow_run_name", "not changed from outside, by design"),
        ("delete_flow_run", "taskyard prune"),
        ("resume_flow_run", "pausing, suspending and resuming"),
        ("read_work_pools", "there are no work pools, by design"),
    ],
)
def test_a_call_that_is_missing_says_what_to_do_instead(kind: Any, name: str, why: str) -> None:
    with pytest.raises(AttributeError, match=f"^a client has no attribute '{name}': .*{why}"):
        getattr(kind("127.0.0.1:1"), name)


@pytest.mark.parametrize("name", ["deployment_filter", "work_pool_filter", "work_queue_filter"])
def test_filters_of_what_does_not_exist_are_refused_before_anybody_is_called(name: str) -> None:
    client: Any = SyncTaskyardClient("127.0.0.1:1")
    for call in (client.read_flow_runs, client.read_flows):
        with pytest.raises(NotSupported, match=f"{name} cannot be used: there are no "):
            call(**{name: object()})
    with pytest.raises(NotSupported, match="deployment_filter cannot be used"):
        client.read_task_runs(deployment_filter=object())


def test_logs_of_nobody_in_particular_are_refused() -> None:
    for wanted in (None, LogFilter(), LogFilter.model_validate({"level": {"ge_": 30}})):
        with pytest.raises(NotSupported, match="say whose they are"):
            SyncTaskyardClient("127.0.0.1:1").read_logs(wanted)


def test_an_order_that_does_not_exist_is_refused() -> None:
    wrong: Any = "SIZE_DESC"
    with pytest.raises(ValueError, match="'SIZE_DESC' is not a valid FlowRunSort"):
        SyncTaskyardClient("127.0.0.1:1").read_flow_runs(sort=wrong)
    assert FlowRunSort("NAME_ASC") is FlowRunSort.NAME_ASC


@pytest.mark.parametrize("state", [Completed(), Paused()])
def test_a_state_that_comes_from_executing_cannot_be_set(state: State[Any]) -> None:
    with pytest.raises(NotSupported, match=f"cannot be set to {state.name}: .*Cancelling.. and Cancelled"):
        check_state(state, RunKind.FLOW)


def test_an_end_that_is_asked_for_has_its_usual_name() -> None:
    check_state(Cancelling(message="why"), RunKind.FLOW)
    check_state(Cancelled(), RunKind.TASK)
    with pytest.raises(NotSupported, match="task run cannot be set to one named 'Stopped'"):
        check_state(Cancelled(name="Stopped"), RunKind.TASK)


def test_what_is_no_id_is_refused() -> None:
    with pytest.raises(ValueError, match="'mine' is no id"):
        SyncTaskyardClient("127.0.0.1:1").read_flow_run("mine")


def test_a_run_that_is_not_there_is_an_object_that_is_not_there() -> None:
    assert issubclass(RunNotFound, ObjectNotFound)
    assert BY_REASON[ErrorReason.RUN_NOT_FOUND] is RunNotFound
