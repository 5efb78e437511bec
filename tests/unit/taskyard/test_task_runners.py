"""Task runners as objects: what they are called, what may be derived from them, when they take runs."""

import pickle
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard import flow, task
from taskyard.exceptions import ConfigurationError, ParameterBindError
from taskyard.futures import Future
from taskyard.task_runners import (
    AgentTaskRunner,
    ProcessPoolTaskRunner,
    SequentialTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)

ALL = [AgentTaskRunner(), ProcessPoolTaskRunner(3), SequentialTaskRunner(), ThreadPoolTaskRunner(3)]
each_runner = pytest.mark.parametrize("runner", ALL, ids=lambda runner: runner.name)


@task
def add(x: int, y: int = 1) -> int:
    return x + y


def test_they_have_the_names_of_prefect() -> None:
    assert [runner.name for runner in ALL] == ["agent", "processpool", "sequential", "threadpool"]
    assert ALL[0].logger.name.endswith("task_runner.agent")


@each_runner
def test_row_62_a_duplicate_is_equal_and_not_started(runner: TaskRunner) -> None:
    other = runner.duplicate()
    assert other == runner
    assert other is not runner
    assert hash(other) == hash(runner)
    assert repr(eval(repr(other))) == repr(runner)
    assert other != "another thing"
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        other.submit(add, {"x": 1})
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        other.map(add, {"x": [1]})


def test_runners_of_other_sizes_are_not_equal() -> None:
    assert ThreadPoolTaskRunner(1) != ThreadPoolTaskRunner(2)
    assert ThreadPoolTaskRunner(1) != ProcessPoolTaskRunner(1)


@pytest.mark.parametrize("kind", [ProcessPoolTaskRunner, ThreadPoolTaskRunner])
def test_a_number_of_workers_is_checked(kind: Any) -> None:
    assert kind().max_workers >= 1
    with pytest.raises(ValueError, match="'max_workers' must be at least 1, got 0"):
        kind(max_workers=0)


def test_a_started_runner_is_pickled_as_it_was_written(session: LoopbackSession) -> None:
    runner = AgentTaskRunner()
    with runner.started(session.scope()):
        copied = pickle.loads(pickle.dumps(runner))
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        copied.submit(add, {"x": 1})


def test_a_started_runner_submits_by_parameters(session: LoopbackSession) -> None:
    runner = AgentTaskRunner()
    with runner.started(session.scope()):
        assert runner.submit(add, {"x": 1, "y": 2}).result() == 3
        assert runner.map(add, {"x": [1, 2]}).result() == [2, 3]
        with pytest.raises(ParameterBindError, match="has no parameters named z"):
            runner.submit(add, {"z": 1})
        with pytest.raises(ParameterBindError, match="missing a required argument"):
            runner.submit(add, {"y": 1})
        with pytest.raises(TypeError, match="takes no 'dependencies'"):
            runner.submit(add, {"x": 1}, dependencies={"x": set()})
        with pytest.raises(RuntimeError, match="already started"), runner.started(session.scope()):
            pass


def test_a_runner_that_would_execute_by_itself_is_refused_where_it_is_written() -> None:
    with pytest.raises(
        TypeError, match=r"'Mine' says not who executes its runs.*derive it from AgentTaskRunner"
    ):

        class Mine(TaskRunner):
            def submit(self, *args: Any, **kwargs: Any) -> Any: ...


def test_a_runner_of_ones_own_may_have_other_defaults(session: LoopbackSession) -> None:
    class Small(ThreadPoolTaskRunner):
        def __init__(self) -> None:
            super().__init__(max_workers=2)

    assert (Small().duplicate().max_workers, repr(Small()), Small().name) == (
        2,
        "Small(max_workers=2)",
        "small",
    )
    assert not Small.takes_calls


class Returning(AgentTaskRunner):
    """Returns what it is told to."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        return self.what

    def map(self, *args: Any, **kwargs: Any) -> Any:
        return self.what


@pytest.mark.parametrize("what", [5, [5]])
def test_a_runner_of_ones_own_has_to_return_futures(session: LoopbackSession, what: Any) -> None:
    @flow(task_runner=Returning(what))
    def main() -> None:
        with pytest.raises(TypeError, match=r"from its method 'submit', where it has to return a future"):
            add.submit(1)
        with pytest.raises(
            TypeError, match=r"from its method 'map', where it has to return a list of futures"
        ):
            add.map([1])

    main()


def test_a_runner_of_ones_own_may_map_to_a_list(session: LoopbackSession) -> None:
    class Twice(AgentTaskRunner):
        def map(self, task: Any, parameters: Any, wait_for: Any = None) -> Any:
            return [future for _ in range(2) for future in super(Twice, self).map(task, parameters, wait_for)]

    @flow(task_runner=Twice)
    def main() -> Any:
        futures = add.map([1, 2])
        assert all(isinstance(future, Future) for future in futures)
        return futures.result()

    assert main() == [2, 3, 2, 3]


def test_a_duplicate_has_to_be_another_runner(session: LoopbackSession) -> None:
    class Same(AgentTaskRunner):
        def duplicate(self) -> "Same":
            return self

    @flow(task_runner=Same)
    def main() -> None: ...

    with pytest.raises(TypeError, match=r"Same\(\).duplicate\(\) must return another task runner"):
        main()


def test_a_flow_can_be_given_another_runner_later(session: LoopbackSession) -> None:
    @flow
    def main() -> Any:
        from taskyard.context import FlowRunContext

        context = FlowRunContext.get()
        return context is not None and context.task_runner

    main.task_runner = Returning(1)
    assert main() == Returning(1)


@pytest.mark.parametrize("value", ["futures", True, ""])
def test_the_option_task_calls_is_checked(value: Any) -> None:
    text = f"flow 'main' has task_calls={value!r}; expected 'value' .* or 'future'"
    with pytest.raises(ConfigurationError, match=text):

        @flow(task_calls=value)
        def main() -> None: ...


def test_the_variable_for_task_calls_is_checked(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_CALLS", "futures")

    @flow
    def main() -> None: ...

    with pytest.raises(ValueError, match="TASKYARD_TASK_CALLS is 'futures'; expected value or future"):
        main()


def test_row_7_numbers_outside_of_flows_are_those_of_the_program(session: LoopbackSession) -> None:
    other = add.with_options(name="other")
    assert (other.dynamic_key, other.get_and_update_dynamic_key(), other.dynamic_key) == ("0", "0", "1")
    assert add.dynamic_key == "0"


def test_a_number_that_no_run_has_is_not_counted_as_a_run(session: LoopbackSession) -> None:
    scope = session.scope()
    scope.take_ordinals("key", 2)
    assert (scope.skip_ordinal("key"), scope.next_ordinal("key"), scope.submitted()) == (2, 3, 2)
