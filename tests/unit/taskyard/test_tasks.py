"""Tasks as objects, and what their calls submit: tables A1 and A2."""

import asyncio
import inspect
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.templates import group_of
from taskyard.context import TaskRun, TaskRunContext, tags
from taskyard.exceptions import ParameterBindError, UpstreamTaskError
from taskyard.futures import Future, FutureList
from taskyard.states import Failed
from taskyard.tasks import Task, task, task_input_hash
from taskyard.utilities.annotations import allow_failure, unmapped
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.id_factory import new_id


@task
def add(a: int, b: int = 10) -> int:
    """Add two numbers."""
    return a + b


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task
async def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def inside(session: LoopbackSession) -> Any:
    """Be inside a task run, so that submit and map are allowed."""
    scope = session.scope(flow_run_id=new_id(), caller_run_id=new_id())
    with TaskRunContext(add, TaskRun(new_id(), "outer"), scope=scope):
        yield scope


def groups(session: LoopbackSession) -> list[pb.RunGroup]:
    return [group for frame in session.script.frames for group in frame.submit.groups]


def test_rows_1_to_3_a_task_carries_its_functions_metadata() -> None:
    assert (add.name, add.description, add.__name__) == ("add", "Add two numbers.", "add")
    assert inspect.signature(add).parameters.keys() == {"a", "b"}
    assert repr(add) == "<Task 'add'>"
    with pytest.raises(TypeError, match="'fn' must be callable"):
        Task(1)  # type: ignore[arg-type]


def test_row_6_the_key_depends_on_name_function_and_tags() -> None:
    assert add.task_key == add.with_options(retries=3).task_key
    assert add.task_key != add.with_options(name="other").task_key
    assert add.task_key != add.with_options(tags=["t"]).task_key


def test_row_31_with_options_replaces_and_keeps(session: LoopbackSession) -> None:
    other = add.with_options(retries=2, version="7").with_options(retries=0)
    assert (other.settings.retries, other.version, other.name) == (0, "7", "add")
    assert add.settings.retries == 0


def test_row_36_fn_is_the_plain_function() -> None:
    assert add.fn(1, 2) == 3


def test_row_39_a_direct_call_returns_and_raises(session: LoopbackSession) -> None:
    assert add(1, b=2) == 3
    with pytest.raises(ValueError, match="bad"):
        fail("bad")


def test_row_39_bad_arguments_are_refused_before_a_run_exists(session: LoopbackSession) -> None:
    with pytest.raises(ParameterBindError):
        add()  # type: ignore[call-arg]
    with pytest.raises(ParameterBindError):
        add(1, c=2)  # type: ignore[call-arg]
    assert session.script.submitted == []


def test_row_40_return_state_never_raises(session: LoopbackSession) -> None:
    state = fail("bad", return_state=True)
    assert state.is_failed()
    assert state.message == "Task run encountered an exception ValueError: bad"


def test_row_41_submit_outside_of_a_flow_names_delay(session: LoopbackSession) -> None:
    with pytest.raises(RuntimeError, match=r"add\.delay"):
        add.submit(1)
    with pytest.raises(RuntimeError, match=r"add\.delay"):
        add.map([1])


def test_row_41_submit_returns_a_future(inside: Scope) -> None:
    future = add.submit(1, 2)
    assert isinstance(future, Future)
    assert future.result(0) == 3
    assert add.submit(1, return_state=True).is_completed()


def test_row_42_wait_for_orders_runs(session: LoopbackSession, inside: Scope) -> None:
    bad = fail.submit("x")
    assert add.submit(1, wait_for=[bad]).wait(0).name == "NotReady"  # type: ignore[union-attr]
    assert add.submit(1, wait_for=[allow_failure(bad)]).result(0) == 11


def test_b7_a_failed_upstream_run_leaves_its_consumer_not_ready(inside: Scope) -> None:
    bad = fail.submit("x")
    state = add.submit(bad).wait(0)
    assert state is not None
    assert (state.name, state.is_pending()) == ("NotReady", True)
    with pytest.raises(UpstreamTaskError, match="did not reach a 'COMPLETED' state"):
        add(bad)  # type: ignore[arg-type]
    assert task(lambda error: repr(error)).submit(allow_failure(bad)).result(0) == "ValueError('x')"


def test_row_43_map_zips_and_broadcasts(inside: Scope) -> None:
    futures = add.map([1, 2, 3], unmapped(5))
    assert isinstance(futures, FutureList)
    assert futures.result(0) == [6, 7, 8]
    assert add.map([1, 2], b=1).result(0) == [2, 3]
    assert add.map([]) == []
    assert [state.result() for state in add.map([1], return_state=True)] == [11]


def test_row_46_map_over_a_map_needs_no_round_trip(inside: Scope) -> None:
    assert add.map(add.map([1, 2]), 0).result(0) == [11, 12]
    assert task(sum).submit(add.map([1, 2], 0)).result(0) == 3


def test_row_7_ordinals_count_per_task(session: LoopbackSession, inside: Scope) -> None:
    inner = session.script.answers

    def answers(frame: pb.ClientFrame, templates: Any) -> list[pb.SessionFrame]:
        session.script.frames.append(frame)
        return inner(frame, templates)

    session.script.answers = answers  # type: ignore[method-assign]
    add.submit(1)
    double.submit(1)
    add.map([1, 2])
    add.submit(1)
    assert [group.first_ordinal for group in groups(session)] == [0, 0, 1, 3]


def test_row_4_tags_of_the_context_are_added(session: LoopbackSession) -> None:
    of = add.with_options(tags=["own"])
    with tags("outer"):
        template = group_of(of, session.scope(), session).template
    assert list(template.message.tags) == ["outer", "own"]
    assert list(group_of(of, session.scope(), session).template.message.tags) == ["own"]
    assert template.task_key == of.task_key


def test_a_template_is_made_once(session: LoopbackSession) -> None:
    scope = session.scope()
    assert group_of(add, scope, session) is group_of(add, scope, session)
    assert group_of(add, session.scope(), session).template is group_of(add, scope, session).template


def test_the_template_says_what_the_control_plane_needs(session: LoopbackSession) -> None:
    of = add.with_options(
        retries=2,
        retry_delay_seconds=[1, 2.5],
        timeout_seconds=3,
        queue="gpu",
        priority=-1,
        agent_labels={"gpu": "a100"},
    )
    message = group_of(of, session.scope(), session).template.message
    assert (message.retry.max_retries, list(message.retry.delays_ms)) == (2, [1000, 2500])
    assert (message.timeout_ms, message.queue, message.priority) == (3000, "gpu", -1)
    assert dict(message.agent_labels) == {"gpu": "a100"}
    assert message.task_key == of.task_key


def test_row_33_methods_bind_their_instance(session: LoopbackSession) -> None:
    class Scaler:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @task
        def scale(self, x: int) -> int:
            return self.factor * x

        @task
        @classmethod
        def name_of(cls) -> str:
            return cls.__name__

        @task
        @staticmethod
        def plain(x: int) -> int:
            return x

    scaler: Any = Scaler(3)
    assert scaler.scale(4) == 12
    assert scaler.scale.ismethod
    assert scaler.name_of() == "Scaler"
    assert (scaler.plain(1), scaler.plain.isstaticmethod) == (1, True)


def test_row_34_async_tasks_return_awaitables(session: LoopbackSession) -> None:
    async def main() -> list[int]:
        return list(await asyncio.gather(*[double(n) for n in range(3)]))

    assert asyncio.run(main()) == [0, 2, 4]


def test_row_34_async_tasks_are_submitted_like_others(inside: Scope) -> None:
    assert double.submit(4).result(0) == 8
    assert double.map([1, 2]).result(0) == [2, 4]


def test_b16_generators_are_called_lazily(session: LoopbackSession) -> None:
    @task
    def numbers(n: int) -> Any:
        yield from range(n)

    numbers(3)
    assert session.script.submitted == []
    with pytest.raises(ValueError, match="generator"):
        numbers(3, return_state=True)


def test_row_8_run_names_known_at_submission_are_sent(session: LoopbackSession, inside: Scope) -> None:
    named = add.with_options(task_run_name="sum-{a}-{b}")
    assert named.submit(1).result(0) == 11
    with pytest.raises(ValueError, match="of task 'add' cannot be filled: there is no parameter"):
        add.with_options(task_run_name="{missing}").submit(1)


def test_row_16_a_cache_key_is_computed_at_submission(session: LoopbackSession, inside: Scope) -> None:
    seen: list[Any] = []

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        seen.append((context.task.name, parameters))
        return "key"

    of = add.with_options(cache_key_fn=key)
    of.submit(1)
    assert seen == [("add", {"a": 1, "b": 10})]
    of.submit(add.submit(1))
    assert len(seen) == 1, "an argument is not known yet, so the worker computes the key"


def test_row_18_equal_inputs_have_equal_keys(session: LoopbackSession) -> None:
    context = TaskRunContext(add, TaskRun(new_id(), "r"))
    assert task_input_hash(context, {"a": 1}) == task_input_hash(context, {"a": 1})
    assert task_input_hash(context, {"a": 1}) != task_input_hash(context, {"a": 2})


def test_a_failed_state_made_by_hand_is_what_the_call_returns(session: LoopbackSession) -> None:
    state = task(lambda: Failed(message="by hand"))()
    assert (state.is_failed(), state.message) == (True, "by hand")


def test_nested_calls_carry_their_parent(session: LoopbackSession, inside: Scope) -> None:
    future = add.submit(1)
    assert future.origin.caller_run_id == inside.caller_run_id
    assert future.origin.flow_run_id == inside.flow_run_id
