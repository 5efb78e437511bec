"""A server and agents on machines of one's own, looked at through the command line."""

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from support.programs import Stage, eventually
from support.programs import stage as open_stage

MIXED = """
import sys
from taskyard import flow, get_run_logger, task

@task(retries=1, task_run_name="divide by {y}")
def divide(x, y):
    get_run_logger().info("dividing by %s", y)
    return x / y

@task
def total(*parts):
    return sum(parts)

@flow(name="mixed")
def mixed():
    good = divide.submit(6, 2)
    bad = divide.submit(6, 0)
    never = total.submit(good, bad)
    print(total.submit(good, 1).result(), never.wait().name)
    bad.result()

try:
    mixed()
except ZeroDivisionError:
    sys.exit(7)
"""

WAITING = """
import sys, time
from taskyard import flow, task

@task
def nap(number):
    time.sleep(60)

@flow(name="waiting")
def waiting():
    futures = nap.map(range(4))
    print("submitted", flush=True)
    futures.result()

try:
    waiting()
except BaseException as error:
    print(type(error).__name__, flush=True)
    sys.exit(5)
"""

PICKY = """
from taskyard import flow, task

@task
def anywhere():
    return "anywhere"

@task(agent_labels={"gpu": "a100"})
def on_a_gpu():
    return "on a gpu"

@flow
def main():
    picky = on_a_gpu.submit()
    print(anywhere(), flush=True)
    print(picky.result(), flush=True)

main()
"""


@pytest.fixture
def served(stage: Stage) -> Stage:
    """A stage with a server and an agent."""
    return serve(stage)


def serve(stage: Stage) -> Stage:
    stage.serve("--http", "127.0.0.1:0", "--database", f"sqlite:///{stage.home}/server.db")
    stage.work("--slots", "2", "--name", "worker")
    return stage


@pytest.fixture(scope="module")
def mixed() -> Iterator[Stage]:
    """A stage on which a program has ended that others look at."""
    with open_stage() as stage:
        serve(stage)
        done = stage.run_script(MIXED)
        assert done.returncode == 7, done.stderr
        assert done.stdout == "4.0 NotReady\n"
        yield stage


def test_a_flow_that_fails_can_be_understood_from_the_command_line(mixed: Stage):
    runs = {run["name"]: run for run in mixed.document("run", "ls")}
    shown = {name: (run["state"], run["state_name"], run["attempt"]) for name, run in runs.items()}
    assert shown["divide by 2"] == ("COMPLETED", "Completed", 1)
    assert shown["divide by 0"] == ("FAILED", "Failed", 2)
    assert shown["total-0"][:2] == ("PENDING", "NotReady")
    assert shown["total-1"][0] == "COMPLETED"
    (flow,) = mixed.document("run", "ls", "--kind", "flow")
    assert flow["state"] == "FAILED"

    failed = mixed.document("run", "show", runs["divide by 0"]["id"])
    assert failed["failure"]["type"] == "ZeroDivisionError"
    assert "return x / y" in failed["failure"]["traceback"]
    assert failed["states"][0]["state"] == "PENDING"
    assert failed["states"][-1]["state"] == "FAILED"
    assert "ZeroDivisionError" in mixed.call("run", "show", runs["divide by 0"]["id"]).stdout

    never = mixed.document("run", "show", "total-0")
    assert {edge["id"] for edge in never["upstream"]} == {
        runs["divide by 2"]["id"],
        runs["divide by 0"]["id"],
    }


def test_filters_of_ls(mixed: Stage):
    (flow,) = mixed.document("run", "ls", "--kind", "flow")
    inside = mixed.document("run", "ls", "--flow", flow["name"], "--kind", "task")
    assert len(inside) == 4
    (failed,) = mixed.document("run", "ls", "--state", "failed", "--kind", "task")
    assert failed["name"] == "divide by 0"
    assert len(mixed.document("run", "ls", "--name", "divide")) == 2
    assert len(mixed.document("run", "ls", "--limit", "1")) == 1


def test_logs_of_a_flow_hold_those_of_its_tasks(mixed: Stage):
    (flow,) = mixed.document("run", "ls", "--kind", "flow")

    def messages() -> list[str]:
        return [record["message"] for record in mixed.document("run", "logs", flow["id"])]

    eventually(lambda: "dividing by 0" in messages() and "dividing by 2" in messages(), "records arrive")
    followed = mixed.call("run", "logs", flow["id"], "--follow")
    assert followed.returncode == 1
    assert "divide by 2 - dividing by 2" in followed.stdout
    assert f"{flow['name']} ended Failed" in followed.stderr


def test_a_cancelled_flow_takes_its_runs_with_it(served: Stage):
    program = served.start_script(WAITING)
    assert program.line() == "submitted"
    (flow,) = served.document("run", "ls", "--kind", "flow")
    eventually(lambda: served.document("run", "ls", "--state", "running", "--kind", "task"), "a task runs")
    assert served.call("run", "cancel", flow["id"]).returncode == 0
    assert program.wait() == 5
    assert served.document("run", "show", flow["id"])["state"] == "CANCELLED"

    def states() -> set[str]:
        return {run["state"] for run in served.document("run", "ls", "--kind", "task")}

    eventually(lambda: states() == {"CANCELLED"}, "all runs are cancelled")


def test_agents_are_listed_while_they_are_there(served: Stage):
    second = served.work("--slots", "1", "--queue", "gpu", "--queue", "default", "--name", "second")
    agents = {agent["name"]: agent for agent in served.document("agent", "ls")}
    assert agents["worker"]["slots"] == 2
    assert agents["worker"]["queues"] == ["default"]
    assert sorted(agents["second"]["queues"]) == ["default", "gpu"]
    assert second.end() == 0

    def online() -> list[str]:
        return [agent["name"] for agent in served.document("agent", "ls") if agent["state"] == "ONLINE"]

    eventually(lambda: online() == ["worker"], "the agent has left")


def test_a_task_with_labels_waits_for_an_agent_that_has_them(served: Stage):
    program = served.start_script(PICKY)
    assert program.line() == "anywhere"
    (waiting,) = served.document("run", "ls", "--state", "pending", "--kind", "task")
    assert waiting["name"].startswith("on_a_gpu")
    able = served.work("--slots", "1", "--label", "gpu=a100", "--label", "zone=a")
    assert program.line() == "on a gpu"
    assert program.wait() == 0
    labels = {tuple(sorted(agent["labels"].items())) for agent in served.document("agent", "ls")}
    assert labels == {(), (("gpu", "a100"), ("zone", "a"))}
    assert able.end() == 0


def test_sigterm_ends_everything_in_order(stage: Stage):
    server = stage.serve("--database", f"sqlite:///{stage.home}/server.db")
    agent = stage.work("--slots", "1")
    assert agent.end() == 0
    assert server.end() == 0
    assert "Traceback" not in agent.log + server.log


def test_the_ready_line_names_all_addresses(stage: Stage):
    database = f"sqlite:///{stage.home}/server.db"
    server = stage.start(
        "server", "start", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--database", database
    )
    line = server.line()
    assert line.endswith(f", database {database})")
    http = line.split("(http ")[1].split(",")[0]
    with urllib.request.urlopen(f"http://{http}/healthz", timeout=10) as answer:
        assert answer.status == 200


def test_without_a_database_there_is_one_at_home(stage: Stage):
    stage.serve()
    assert (stage.home / "server.db").exists()


def test_wrong_settings_are_refused_with_a_reason(stage: Stage):
    wrong = stage.call("server", "start", "--database", "mysql://db/taskyard")
    assert wrong.returncode == 2
    assert "'mysql://db/taskyard' is not a database URL" in wrong.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        in_use = stage.call("server", "start", "--listen", address, "--database", "sqlite://")
    assert in_use.returncode == 3
    assert address in in_use.stderr
    database = f"sqlite:///{stage.home}/server.db"
    stage.serve("--database", database)
    second = stage.call("server", "start", "--listen", "127.0.0.1:0", "--database", database)
    assert second.returncode == 4


def test_postgresql(stage: Stage, postgres_url: str):
    server = stage.serve("--database", postgres_url)
    stage.work("--slots", "1")
    done = stage.run_script(MIXED)
    assert done.stdout == "4.0 NotReady\n", done.stderr
    names = {run["name"] for run in json.loads(stage.call("run", "ls", "--json").stdout)}
    assert {"divide by 2", "divide by 0", "total-0", "total-1"} <= names
    assert server.end() == 0


COUNTED = """
import pathlib, time
from taskyard import flow, task

@task
def count(number):
    time.sleep(0.05)
    with open(HOME / "executed", "a") as file:
        file.write(f"{number}\\n")
    return number

@flow
def counting():
    futures = count.map(range(60))
    print("submitted", flush=True)
    print(sum(futures.result()), flush=True)

counting()
"""


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.chaos),
        pytest.param(signal.SIGTERM, id="restarted"),
    ],
)
def test_a_restarted_server_goes_on_where_it_was(stage: Stage, number: signal.Signals):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    database = ("--database", f"sqlite:///{stage.home}/server.db")
    server = stage.serve(*database, listen=address)
    stage.work("--slots", "2")
    program = stage.start_script(COUNTED.replace("HOME", f"pathlib.Path({str(stage.home)!r})"))
    assert program.line() == "submitted"
    executed = stage.home / "executed"
    eventually(lambda: executed.exists() and executed.read_text().count("\n") >= 10, "work has begun")
    server.end(number)
    stage.serve(*database, listen=address)
    assert program.line() == str(sum(range(60)))
    assert program.wait() == 0
    assert sorted(map(int, executed.read_text().split())) == list(range(60))
    runs = stage.document("run", "ls", "--limit", "100", "--kind", "task")
    assert len(runs) == 60
    assert {run["state"] for run in runs} == {"COMPLETED"}


@pytest.mark.chaos
def test_runs_of_a_lost_agent_go_to_another(stage: Stage):
    stage.serve("--agent-lease", "1", "--database", f"sqlite:///{stage.home}/server.db")
    first = stage.work("--slots", "1", "--name", "first")
    program = stage.start_script(COUNTED.replace("HOME", f"pathlib.Path({str(stage.home)!r})"))
    assert program.line() == "submitted"
    executed = stage.home / "executed"
    eventually(lambda: executed.exists(), "work has begun")
    first.end(signal.SIGKILL)
    stage.work("--slots", "2", "--name", "second")
    assert program.line() == str(sum(range(60)))
    assert program.wait() == 0
    runs = stage.document("run", "ls", "--limit", "100", "--kind", "task")
    assert {run["state"] for run in runs} == {"COMPLETED"}
    assert {run["attempt"] for run in runs} == {1}
    assert sum(run["infra_retries"] for run in runs) <= 1, "no more than what executed can have been lost"


@pytest.mark.chaos
def test_flows_of_a_lost_program_are_crashed(stage: Stage):
    stage.serve("--session-lease", "1", "--database", f"sqlite:///{stage.home}/server.db")
    stage.work("--slots", "1")
    program = stage.start_script(WAITING)
    assert program.line() == "submitted"
    eventually(lambda: stage.document("run", "ls", "--kind", "flow"), "the server has heard of it")
    program.end(signal.SIGKILL)

    def flow_state() -> tuple[str, str]:
        (flow,) = stage.document("run", "ls", "--kind", "flow")
        return flow["state"], flow["reason"]

    eventually(lambda: flow_state() == ("CRASHED", "session_lost"), "the flow run is given up")

    def unstarted() -> list[str]:
        return [run["id"] for run in stage.document("run", "ls", "--state", "pending")]

    eventually(lambda: not unstarted(), "its runs that had not started are cancelled")


NESTED = """
from taskyard import flow, task

@task
def inner(x):
    return x + 1

@task
def outer(x):
    return inner(x) + sum(inner.map([x, x]).result())

@flow
def nested():
    return outer.map([1, 2, 3]).result()

print(nested())
"""


def test_a_task_that_waits_for_tasks_gives_its_slot_back(stage: Stage):
    stage.serve()
    agent = stage.work("--slots", "1")
    done = stage.run_script(NESTED)
    assert done.stdout == "[6, 9, 12]\n", done.stderr
    runs = stage.document("run", "ls", "--kind", "task")
    outer = {run["id"] for run in runs if run["task_name"] == "outer"}
    assert {run["caller_run_id"] for run in runs if run["task_name"] == "inner"} == outer
    assert "Traceback" not in agent.log
