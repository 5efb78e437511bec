"""Programs in other languages with a real control plane, a real agent in Python, and ``kill -9``."""

import json
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import grpc
import pytest
from clients.programs import CLIENTS, Language, check_built, worker
from conformance.things import referring
from support.processes import Child, Installation, installation

from taskyard_api.v1 import common_pb2, states_pb2, template_pb2
from taskyard_api.v1 import run_service_pb2 as rp
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub
from taskyard_contract.id_factory import new_id

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

EACH = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
BOTH_WAYS = pytest.mark.parametrize("poll", [False, True], ids=["stream", "poll"])
MANY = 200
PATIENCE = 60.0


@pytest.fixture(autouse=True, scope="module")
def _built() -> None:
    check_built()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Installation]:
    database = f"sqlite:///{tmp_path / 'taskyard.db'}"
    with installation(tmp_path, database, agent_lease=15, session_lease=20) as running:
        running.start_server()
        yield running


@pytest.fixture
def runs(yard: Installation) -> Iterator["Runs"]:
    with grpc.insecure_channel(yard.address) as channel:
        yield Runs(RunServiceStub(channel))


class Runs:
    """Python's bare stubs: what somebody without the SDK has."""

    def __init__(self, stub: RunServiceStub) -> None:
        self._stub = stub

    def submit(
        self,
        task: str,
        *args: object,
        retries: int = 0,
        timeout_ms: int = 0,
        upstream: Iterable[bytes] = (),
    ) -> bytes:
        """Submit a run to the queue of the worker in Go; returns its id."""
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK,
            name=task,
            task_key=task,
            queue="go",
            code=template_pb2.Code(task_name=task),
            encoding="json/plain",
            retry=template_pb2.RetryPolicy(max_retries=retries),
            timeout_ms=timeout_ms,
        )
        data = json.dumps({"args": args, "kwargs": {}}).encode()
        run = rp.NewRun(
            run_id=new_id(),
            template=template,
            args=common_pb2.Payload(encoding="json/plain", data=data),
            upstream=[rp.Upstream(run_id=each, kind=sp.UPSTREAM_KIND_DATA) for each in upstream],
        )
        answer = self._stub.SubmitRuns(rp.SubmitRunsRequest(runs=[run]), timeout=20, wait_for_ready=True)
        assert not answer.refused
        return run.run_id

    def ended(self, run_id: bytes) -> rp.Run:
        """Wait until a run has ended, whatever becomes of the server meanwhile."""
        end = time.monotonic() + PATIENCE
        request = rp.WaitRunRequest(run_id=run_id, timeout_ms=2_000)
        while True:
            try:
                run: rp.Run = self._stub.WaitRun(request, timeout=10, wait_for_ready=True).run
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:  # type: ignore[attr-defined]
                    raise
                continue
            if run.state >= states_pb2.RUN_STATE_COMPLETED:
                return run
            assert time.monotonic() < end, f"not ended in time: {run}"

    def value(self, run_id: bytes) -> object:
        """Wait for the value that a run returned."""
        run = self.ended(run_id)
        assert run.state == states_pb2.RUN_STATE_COMPLETED, run
        assert run.result.encoding == "json/plain"
        return json.loads(run.result.data)

    def state(self, run_id: bytes) -> int:
        return int(self._stub.GetRun(rp.GetRunRequest(run_id=run_id), timeout=10).run.state)

    def states(self, run_id: bytes) -> list[str]:
        """Every state it was in, by name."""
        listed = self._stub.ListRunStates(rp.ListRunStatesRequest(run_id=run_id), timeout=10)
        return [states_pb2.RunState.Name(entry.state)[len("RUN_STATE_") :] for entry in listed.states]

    def logs(self, run_id: bytes) -> list[str]:
        listed = self._stub.ListRunLogs(rp.ListRunLogsRequest(run_id=run_id), timeout=10)
        return list(listed.logs.messages)


def start_worker(yard: Installation, poll: bool, name: str = "go") -> Child:
    return yard.start_program("go-worker", *worker(yard.address, name=name, queue="go", poll=poll))


def executed(child: Child) -> int:
    """How often a worker began to execute ``kit.sleep``."""
    return child.errors().count("executing ")


@EACH
def test_a_client_has_a_python_function_executed(yard: Installation, client: Language) -> None:
    yard.start_agent()
    words = client.words(yard.address, "submit", "add", "20", "22", reference="operator:add")
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 0
    assert child.output() == "42\n"


@EACH
def test_a_client_hears_why_a_run_failed(yard: Installation, client: Language) -> None:
    yard.start_agent()
    words = client.words(yard.address, "submit", "divide", "1", "0", reference="operator:truediv")
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 1
    assert "ZeroDivisionError: division by zero" in child.errors()


@EACH
def test_a_client_cancels_what_python_executes(yard: Installation, client: Language) -> None:
    yard.start_agent()
    words = client.words(yard.address, "submit", "sleep", "300", reference="time:sleep", no_wait=True)
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 0
    run_id = child.output().strip()
    cancel = yard.start_program("client", *client.words(yard.address, "cancel", run_id))
    assert yard.exit_code(cancel, 60) == 0
    wait = yard.start_program("client", *client.words(yard.address, "wait", run_id))
    assert yard.exit_code(wait, 60) == 1
    assert "RUN_STATE_CANCELLED" in wait.errors()


@EACH
@BOTH_WAYS
def test_a_client_has_a_task_in_go_executed(yard: Installation, client: Language, poll: bool) -> None:
    start_worker(yard, poll)
    words = client.words(yard.address, "submit", "kit.add", "3", "4", queue="go")
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 0
    assert child.output() == "7\n"


@BOTH_WAYS
def test_go_executes_what_python_submits(yard: Installation, runs: Runs, poll: bool) -> None:
    child = start_worker(yard, poll)
    many = [runs.submit("kit.add", number, 1) for number in range(MANY)]
    assert [runs.value(run_id) for run_id in many] == [number + 1 for number in range(MANY)]
    assert runs.logs(many[0]) == ["added 2 numbers"]
    retried = runs.ended(runs.submit("kit.fail", "not yet", 3, retries=2))
    assert (retried.state, retried.attempt) == (states_pb2.RUN_STATE_COMPLETED, 3)
    failed = runs.ended(runs.submit("kit.fail", "never", retries=1))
    assert (failed.state, failed.attempt) == (states_pb2.RUN_STATE_FAILED, 2)
    assert (failed.failure.message, failed.failure.source) == ("never", "go")
    for_good = runs.ended(runs.submit("kit.add", "text", retries=5))
    assert (for_good.attempt, for_good.failure.type) == (1, "TypeError")
    late = runs.ended(runs.submit("kit.sleep", 300, timeout_ms=300))
    assert late.reason == states_pb2.STATE_REASON_TIMED_OUT
    child.send(signal.SIGTERM)
    assert yard.exit_code(child, 30) == 0


@BOTH_WAYS
def test_go_gets_results_of_upstream_runs(yard: Installation, runs: Runs, poll: bool) -> None:
    start_worker(yard, poll)
    first = runs.submit("kit.add", 1, 2)
    second = runs.submit("kit.add", 10, referring(first), upstream=[first])
    third = runs.submit("kit.add", referring(first), referring(second), upstream=[first, second])
    assert [runs.value(run_id) for run_id in (first, second, third)] == [3, 13, 16]


@BOTH_WAYS
def test_a_run_is_cancelled_while_go_executes_it(yard: Installation, runs: Runs, poll: bool) -> None:
    child = start_worker(yard, poll)
    run_id = runs.submit("kit.sleep", 300)
    yard.wait_for(lambda: executed(child), 30, "a run that executes")
    cancel = yard.start_program("client", *CLIENTS[0].words(yard.address, "cancel", str(UUID(bytes=run_id))))
    assert yard.exit_code(cancel, 30) == 0
    assert runs.ended(run_id).state == states_pb2.RUN_STATE_CANCELLED
    assert "RUNNING" in runs.states(run_id)


@BOTH_WAYS
def test_a_killed_worker_loses_nothing(yard: Installation, runs: Runs, poll: bool) -> None:
    child = start_worker(yard, poll)
    long = runs.submit("kit.sleep", 1.5)
    many = [runs.submit("kit.add", number, 1) for number in range(MANY)]
    yard.wait_for(lambda: executed(child), 30, "a run that executes")
    child.kill()
    start_worker(yard, poll)
    assert runs.value(long) == 1.5
    assert [runs.value(run_id) for run_id in many] == [number + 1 for number in range(MANY)]


@BOTH_WAYS
def test_a_killed_server_kills_no_work(yard: Installation, runs: Runs, poll: bool) -> None:
    child = start_worker(yard, poll)
    long = runs.submit("kit.sleep", 2)
    many = [runs.submit("kit.add", number, 1) for number in range(MANY)]
    yard.wait_for(lambda: executed(child), 30, "a run that executes")
    yard.kill_server()
    yard.start_server()
    assert runs.value(long) == 2
    assert [runs.value(run_id) for run_id in many] == [number + 1 for number in range(MANY)]
    assert executed(child) == 1
    child.send(signal.SIGTERM)
    assert yard.exit_code(child, 30) == 0
