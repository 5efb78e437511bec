"""What can be served, and which task a run is for."""

import threading
from typing import Any

import pytest

from taskyard import flow, remote_task, task
from taskyard._engine.task_worker import worker
from taskyard._engine.task_worker.served import Served
from taskyard.task_worker import TaskWorker
from taskyard_api.v1 import template_pb2


@task(queue="slow")
def one() -> int:
    return 1


@task(name="second")
def two() -> int:
    return 2


@flow
def main() -> None:
    """Be no task."""


@pytest.mark.parametrize(
    ("tasks", "options", "error", "why"),
    [
        ((), {}, ValueError, r"no task to serve: serve\(send_email, resize\)"),
        ((main,), {}, TypeError, "only tasks can be served, got <Flow"),
        ((len,), {}, TypeError, "decorate the function with @task"),
        ((remote_task("far"),), {}, TypeError, "'far' is a task of others"),
        ((one,), {"limit": 0}, ValueError, "'limit' must be at least 1, or None"),
        ((one,), {"limit": "3"}, TypeError, "'limit' must be a whole number, or None .* got '3'"),
    ],
)
def test_what_cannot_be_served_is_refused(tasks: Any, options: Any, error: Any, why: str) -> None:
    with pytest.raises(error, match=why):
        TaskWorker(*tasks, **options)


def test_a_local_function_without_content_is_refused() -> None:
    held = threading.Lock()

    @task
    def inner() -> object:
        return held

    with pytest.raises(ValueError, match=r"task 'inner' cannot be served: .* have its function in a module"):
        TaskWorker(inner)


def test_more_tasks_than_a_control_plane_takes_are_refused() -> None:
    tasks = [task(_of_number(number)) for number in range(1_025)]
    with pytest.raises(ValueError, match=r"1,025 tasks have 1,025 names .* one serves at most 1,024"):
        TaskWorker(*tasks)
    assert len(TaskWorker(*tasks[1:]).tasks) == 1_024


def _of_number(number: int) -> Any:
    def one_of_many() -> int:
        return number

    one_of_many.__qualname__ = f"one_of_many_{number}"
    return one_of_many


def test_row_49_the_limit_is_10_by_default() -> None:
    assert TaskWorker(one).limit == 10
    assert TaskWorker(one, limit=None).available_tasks is None


def test_stop_needs_a_worker_that_serves() -> None:
    worker = TaskWorker(one)
    assert not worker.started
    with pytest.raises(RuntimeError, match="does not serve"):
        worker.stop()


def template(task_name: str = "", **fields: Any) -> template_pb2.RunTemplate:
    return template_pb2.RunTemplate(code=template_pb2.Code(task_name=task_name), **fields)


def test_runs_find_their_task() -> None:
    renamed = one.with_options(name="renamed")
    served = Served([one, renamed, two])
    assert served.queues == ("slow", "default")
    assert served.names == (f"{__name__}:one", f"{__name__}:two")
    name = f"{__name__}:one"

    def found(asked: template_pb2.RunTemplate) -> str:
        code = served.code_of(asked)
        return code.task.name if code is not None else ""

    assert found(template(served_as=name, name="renamed")) == "renamed"
    assert found(template(served_as=name, name="one")) == "one"
    assert found(template(served_as=name, name="another")) == "one"
    assert found(template(served_as="elsewhere:one", name="one")) == ""
    assert found(template(name="one")) == ""
    assert found(template("second")) == "second"
    assert sorted(offer.name for offer in served.offers()) == ["one", "renamed", "second"]


def test_two_tasks_of_one_name_cannot_be_called_by_it() -> None:
    same = two.with_options(name="one")
    served = Served([one, same])
    assert served.offers() == []
    assert served.code_of(template("one")) is None


def test_it_can_be_stopped_while_no_control_plane_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def session() -> None:
        asked.set()
        answer.wait(60)

    monkeypatch.setattr(worker, "current_session", session)
    it = TaskWorker(one)
    thread = threading.Thread(target=it.start)
    thread.start()
    try:
        assert asked.wait(30)
        it.stop()
        thread.join(30)
        assert not thread.is_alive()
        assert not it.started
    finally:
        answer.set()
        thread.join(30)
