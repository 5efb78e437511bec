"""One program in one language, its tasks in another: called, mapped, chained, followed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.programs import CLIENTS, Language, check_built, worker
from support.processes import Child, Installation, installation

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

EACH = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
BOTH_WAYS = pytest.mark.parametrize("poll", [False, True], ids=["stream", "poll"])

FLOW = """
from taskyard import flow, remote_task
from taskyard.exceptions import RemoteError

add = remote_task("kit.add", queue="go")
broken = remote_task("kit.fail", queue="go", retries=1)

@flow
def main():
    print("called", add(3, 4))
    print("mapped", add.map(range(5), 10).result())
    print("mapped over futures", add.map(add.map(range(3), 1), 1).result())
    try:
        broken("as it was told")
    except RemoteError as error:
        print("raised", error.source, error.message)

main()
"""

CHAIN = """
from taskyard import flow, remote_task, task

add = remote_task("kit.add", queue="go")

@task(result_encoding="json")
def double(number):
    return number * 2

@flow
def main():
    print("python reads go", double(add.submit(20, 1)))
    print("go reads python", add.submit(double.submit(add.submit(1, 2)), 1).result())

main()
"""

TASKS = """
import time

from taskyard import get_run_logger, task

@task(name="py.greet")
def greet(name: str, times: int = 1) -> str:
    get_run_logger().info("greeting %s", name)
    return ", ".join(["hello " + name] * times)

@task(name="py.divide")
def divide(x: int, y: int) -> float:
    return x / y

@task(name="py.chat")
def chat(seconds: float) -> str:
    for number in range(3):
        get_run_logger().info("line %d", number)
        time.sleep(seconds)
    return "done"
"""


@pytest.fixture(autouse=True, scope="module")
def _built() -> None:
    check_built()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Installation]:
    database = f"sqlite:///{tmp_path / 'taskyard.db'}"
    with installation(tmp_path, database, agent_lease=15, session_lease=20) as running:
        running.start_server()
        yield running


@BOTH_WAYS
def test_a_python_flow_calls_and_maps_tasks_in_go(yard: Installation, tmp_path: Path, poll: bool) -> None:
    yard.start_agent()
    child = yard.start_program("go-worker", *worker(yard.address, name="go", queue="go", poll=poll))
    program = tmp_path / "program.py"
    program.write_text(FLOW)
    flow = yard.start("flow", program)
    assert yard.exit_code(flow, 60) == 0, flow.describe()
    assert flow.output().splitlines() == [
        "called 7",
        "mapped [10, 11, 12, 13, 14]",
        "mapped over futures [2, 3, 4]",
        "raised go as it was told",
    ]
    child.send(signal.SIGTERM)
    assert yard.exit_code(child, 30) == 0


@BOTH_WAYS
def test_results_go_from_language_to_language(yard: Installation, tmp_path: Path, poll: bool) -> None:
    yard.start_agent()
    yard.start_program("go-worker", *worker(yard.address, name="go", queue="go", poll=poll))
    program = tmp_path / "program.py"
    program.write_text(CHAIN)
    flow = yard.start("flow", program)
    assert yard.exit_code(flow, 60) == 0, flow.describe()
    assert flow.output().splitlines() == ["python reads go 42", "go reads python 7"]


@pytest.fixture
def serving(yard: Installation, tmp_path: Path) -> Child:
    """A Python agent that serves tasks by name."""
    (tmp_path / "tasks_of_python.py").write_text(TASKS)
    path = str(tmp_path)
    command = ["-m", "taskyard_agent", "--server", yard.address, "--name", "py", "--queue", "py"]
    agent = yard.start("agent-py", *command, "--slots", "2", "--serve", "tasks_of_python", PYTHONPATH=path)
    yard.wait_for(lambda: "taskyard agent ready" in agent.output() or not agent.running, 30, "the agent")
    return agent


@EACH
def test_a_client_calls_a_python_task_by_name(yard: Installation, serving: Child, client: Language) -> None:
    words = client.words(yard.address, "submit", "py.greet", '"Ada"', "2", queue="py")
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 0
    assert child.output() == '"hello Ada, hello Ada"\n'


@EACH
def test_a_client_hears_what_a_python_task_raised(
    yard: Installation, serving: Child, client: Language
) -> None:
    words = client.words(yard.address, "submit", "py.divide", "1", "0", queue="py")
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 1
    assert "ZeroDivisionError: division by zero" in child.errors()


@EACH
def test_a_client_follows_a_python_task_and_its_log(
    yard: Installation, serving: Child, client: Language
) -> None:
    words = client.words(yard.address, "submit", "py.chat", "0.3", queue="py", no_wait=True)
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 0
    run_id = child.output().strip()
    logs = yard.start_program("logs", *client.words(yard.address, "logs", run_id))
    watch = yard.start_program("watch", *client.words(yard.address, "watch", run_id))
    assert yard.exit_code(logs, 60) == 0
    assert yard.exit_code(watch, 60) == 0
    lines = [line.rpartition(" line ")[2] for line in logs.output().splitlines()]
    assert lines == ["0", "1", "2"]
    assert watch.output().splitlines()[-1].endswith("RUN_STATE_COMPLETED")


@EACH
def test_a_client_follows_a_run_over_a_kill_of_the_server(
    yard: Installation, serving: Child, client: Language
) -> None:
    words = client.words(yard.address, "submit", "py.chat", "1", queue="py", no_wait=True)
    child = yard.start_program("client", *words)
    assert yard.exit_code(child, 60) == 0
    run_id = child.output().strip()
    logs = yard.start_program("logs", *client.words(yard.address, "logs", run_id))
    watch = yard.start_program("watch", *client.words(yard.address, "watch", run_id))
    yard.wait_for(lambda: "line 0" in logs.output() and watch.output(), 30, "the first line of the log")
    yard.kill_server()
    yard.start_server()
    assert yard.exit_code(logs, 60) == 0
    assert yard.exit_code(watch, 60) == 0
    assert [logs.output().count(f"line {number}") for number in range(3)] == [1, 1, 1]
    assert watch.output().splitlines()[-1].endswith("RUN_STATE_COMPLETED")
