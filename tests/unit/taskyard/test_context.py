import gc
import threading
import weakref
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from taskyard import context
from taskyard.context import (
    FlowRun,
    FlowRunContext,
    TagsContext,
    TaskRun,
    TaskRunContext,
    current_context,
    current_tags,
    get_run_context,
    tags,
)
from taskyard.exceptions import MissingContextError
from taskyard_api.v1 import template_pb2
from taskyard_contract.execution import Invocation

TASK_ID, FLOW_ID, PARENT_ID = b"t" * 16, b"f" * 16, b"p" * 16


def task_context(parameters: Any = None, **fields: Any) -> TaskRunContext:
    return TaskRunContext("the task", TaskRun(TASK_ID, "f-0", **fields), parameters or {})


def flow_context() -> FlowRunContext:
    return FlowRunContext("the flow", FlowRun(FLOW_ID, "brave-otter", flow_name="trip"), {"x": 1})


def test_row_68_without_a_run_there_is_no_context() -> None:
    assert current_context() is None
    assert TaskRunContext.get() is None
    with pytest.raises(MissingContextError, match="no active flow or task run"):
        get_run_context()


def test_row_68_the_innermost_run_is_the_current_one() -> None:
    flow, task = flow_context(), task_context()
    with flow:
        assert get_run_context() is flow
        with task:
            assert get_run_context() is task
            assert (TaskRunContext.get(), FlowRunContext.get()) == (task, flow)
        assert get_run_context() is flow
        assert TaskRunContext.get() is None
    assert current_context() is None


def test_a_flow_inside_a_task_is_innermost() -> None:
    task, flow = task_context(), flow_context()
    with task, flow:
        assert get_run_context() is flow
        assert TaskRunContext.get() is task


def test_a_failing_run_leaves_the_context() -> None:
    with pytest.raises(ValueError, match="bad"), task_context():
        raise ValueError("bad")
    assert current_context() is None


def test_threads_see_a_context_only_with_a_copy_of_it() -> None:
    seen: list[object] = []
    task = task_context()
    with task:
        plain = threading.Thread(target=lambda: seen.append(current_context()))
        copied = threading.Thread(target=copy_context().run, args=(lambda: seen.append(current_context()),))
        for thread in (plain, copied):
            thread.start()
            thread.join()
    assert seen == [None, task]


def test_row_16_a_task_run_is_known_by_the_names_of_both_dialects() -> None:
    context = task_context(flow_run_id=FLOW_ID, tags=["b"], run_count=2, ordinal=7, task_key="k")
    assert context.task == "the task"
    assert context.task_run_id == context.task_run.id == UUID(bytes=TASK_ID)
    assert context.flow_run_id == context.task_run.flow_run_id == UUID(bytes=FLOW_ID)
    run = context.task_run
    assert (run.name, run.tags, run.run_count, run.dynamic_key, run.task_key) == ("f-0", ["b"], 2, "7", "k")
    assert run.parent_run_id is None
    assert repr(run) == f"TaskRun(id='{UUID(bytes=TASK_ID)}', name='f-0', run_count=2)"


def test_outside_flows_there_is_no_flow_run_id() -> None:
    assert task_context().flow_run_id is None


def test_a_task_run_of_a_worker_reads_its_parts_when_asked() -> None:
    template = template_pb2.RunTemplate(name="f", task_key="k", tags=["a"])
    invocation = Invocation(
        TASK_ID,
        1,
        template,
        b"",
        flow_run_id=FLOW_ID,
        flow_run_name="brave-otter",
        parent_run_id=PARENT_ID,
        ordinal=3,
    )
    run = TaskRun.from_invocation(invocation)
    invocation.attempt = 2
    assert (run.name, run.task_name, run.task_key, run.tags) == ("f-3", "f", "k", ["a"])
    assert (run.run_count, run.dynamic_key, run.flow_run_name) == (2, "3", "brave-otter")
    assert (run.flow_run_id, run.parent_run_id) == (UUID(bytes=FLOW_ID), UUID(bytes=PARENT_ID))
    assert run.state is None
    with pytest.raises(AttributeError, match="a task run has no attribute 'colour'"):
        run.colour  # type: ignore[attr-defined]  # noqa: B018  # the mistake under test


def test_a_name_given_later_stays() -> None:
    run = TaskRun.from_invocation(Invocation(TASK_ID, 1, template_pb2.RunTemplate(name="f"), b""))
    run.name = "rendered"
    assert run.name == "rendered"


def test_parameters_are_made_once_and_only_when_asked_for() -> None:
    made: list[int] = []

    def parameters() -> dict[str, int]:
        made.append(1)
        return {"x": 1}

    context = task_context(parameters)
    assert made == []
    assert context.parameters == context.parameters == {"x": 1}
    assert made == [1]


def test_row_68_a_flow_run_knows_itself() -> None:
    context = flow_context()
    assert context.flow_run_id == context.flow_run.id == UUID(bytes=FLOW_ID)
    assert (context.flow, context.parameters, context.flow_run.name) == ("the flow", {"x": 1}, "brave-otter")
    assert context.start_time <= datetime.now(UTC)
    assert context.flow_run.parent_run_id is None
    assert "brave-otter" in repr(context.flow_run)


def test_row_4_tags_of_nested_blocks_add_up() -> None:
    with tags("a", "b") as outer:
        assert outer == current_tags() == {"a", "b"}
        with tags("b", "c") as inner:
            assert inner == current_tags() == {"a", "b", "c"}
        assert current_tags() == {"a", "b"}
    assert current_tags() == frozenset()


def test_a_run_that_printed_holds_nothing_once_it_has_ended() -> None:
    class Argument:
        """Stands for something large."""

    def run() -> weakref.ref[Argument]:
        argument = Argument()
        with task_context({"x": argument}) as context:
            context.unfinished = partial(id, context)
        return weakref.ref(argument)

    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()


def test_row_4_tags_are_an_object_too() -> None:
    assert TagsContext.get().current_tags == frozenset()
    with tags("a"):
        assert TagsContext.get().current_tags == {"a"}
        with TagsContext(current_tags={"b"}):
            assert current_tags() == {"b"}
        assert current_tags() == {"a"}


def test_the_context_of_a_flow_has_two_names() -> None:
    assert context.EngineContext is FlowRunContext
