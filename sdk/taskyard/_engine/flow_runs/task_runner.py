"""What all task runners have in common: they say who executes runs, and submit some while they are started.

Invariant: a task runner that somebody wrote down is never started itself, flows start duplicates of it: one
object can stand for many flow runs at a time.
"""

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, ClassVar, Self, TypeVar

from taskyard._durable_names import public
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.futures.waiting import wait_for_all_inside
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.ports import Service
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard._network.session.session import Session
from taskyard.logging import get_logger
from taskyard_contract.errors import TaskyardError

R = TypeVar("R")


@public("taskyard.task_runners")
class TaskRunner(ABC):
    """Says who executes the task runs of a flow.

    Derive from one of those that exist, to give it other defaults, or a `submit` or `map` that does something
    before or after that of `super()`: tasks of the flow are submitted by it then. How runs are executed is no
    part of a task runner here.

    Used by itself, in ``with runner:``, it takes runs by `submit` and `map`, and waits for them at the end.
    """

    takes_calls: ClassVar[bool] = False
    """Whether it does something of its own with what is submitted."""
    _place: Scope | None = None
    _entered: ExitStack | None = None

    def __init_subclass__(cls) -> None:
        """Look at what a class has of its own.

        Raises:
            TypeError: It says nothing that could be done here.
        """
        super().__init_subclass__()
        if cls.serving is TaskRunner.serving:
            raise TypeError(
                f"task runner '{cls.__name__}' says not who executes its runs, and cannot do so itself:"
                " derive it from AgentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner or "
                "ThreadPoolTaskRunner, of taskyard.task_runners"
            )
        cls.takes_calls = cls.submit is not TaskRunner.submit or cls.map is not TaskRunner.map

    @abstractmethod
    def serving(self, session: Session) -> AbstractContextManager[Service]:
        """Return who serves runs of `session` for this runner, while entered."""

    @property
    def name(self) -> str:
        """Its class in lower case, without "taskrunner": "threadpool"."""
        return type(self).__name__.lower().replace("taskrunner", "")

    @property
    def logger(self) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
        """A logger for those who derive from it."""
        return get_logger(f"task_runner.{self.name}")

    def duplicate(self) -> Self:
        """Return another one of the same kind, not started; each flow run has its own."""
        other = copy.copy(self)
        other._place = other._entered = None
        return other

    def submit(
        self,
        task: TaskDefinition[..., R],
        parameters: Mapping[str, Any],
        wait_for: object = None,
        dependencies: object = None,
    ) -> Future[R]:
        """Submit a run of a task and return its future.

        Args:
            task: The task.
            parameters: The arguments of its function, by the names of its parameters.
            wait_for: Futures that must have completed before.
            dependencies: Only None: what a run depends on is found in its parameters and `wait_for`.

        Raises:
            RuntimeError: The runner is not started.
            ParameterBindError: The parameters do not fit the function's signature.
        """
        if dependencies is not None:
            raise TypeError(
                f"{self!r}.submit takes no 'dependencies': the futures among the parameters, and in wait_for,"
                " say what a run depends on"
            )
        place = self._started()
        args, kwargs = task.signature.split(parameters)
        return self._submit(task, place, args, kwargs, wait_for)

    def _submit(
        self,
        task: TaskDefinition[..., Any],
        place: Scope,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wait_for: object,
    ) -> Future[Any]:
        return submit_one(task, place, args, kwargs, wait_for)

    def map(
        self, task: TaskDefinition[..., R], parameters: Mapping[str, Any], wait_for: object = None
    ) -> FutureList[R]:
        """Submit one run of a task for each element of the iterables among its parameters.

        Args:
            task: The task.
            parameters: The arguments of its function by the names of its parameters; strings, and what is
                `unmapped`, are the same for each run.
            wait_for: Futures that must have completed before each of the runs.

        Raises:
            RuntimeError: The runner is not started.
            MappingMissingIterable: No parameter is iterable.
            MappingLengthMismatch: Iterables have different lengths.
        """
        place = self._started()
        args, kwargs = task.signature.split(parameters)
        return submit_many(task, place, expand(task.signature, args, kwargs), wait_for)

    def _started(self) -> Scope:
        """Return where what is submitted now goes: to the run around, if this is its runner."""
        around = current_scope()
        if around is not None and around.task_runner is self:
            return around
        if self._place is None:
            raise RuntimeError(
                "Task runner is not started: a flow run starts a duplicate of the flow's,"
                " FlowRunContext.get().task_runner; elsewhere submit inside of"
                f" 'with {self!r} as runner:'"
            )
        return self._place

    @contextmanager
    def started(self, place: Scope) -> Iterator[Self]:
        """Take submissions of one place while entered.

        Raises:
            RuntimeError: It is started already.
        """
        if self._place is not None:
            raise RuntimeError("This task runner is already started: use runner.duplicate() for a second one")
        self._place = place
        try:
            yield self
        finally:
            self._place = None

    def __enter__(self) -> Self:
        """Start it: for submissions of the run around, or of this program."""
        around = current_scope() or outside_scope()
        with ExitStack() as stack:
            service = stack.enter_context(self.serving(around.session))
            stack.enter_context(self.started(around.served_by(service, self)))
            self._entered = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        """Wait for what was submitted, or end it as far as it has not begun, when something was raised.

        Where the program is being ended, or this is interrupted, what has begun is ended too.
        """
        place, entered = self._place, self._entered
        assert place is not None
        assert entered is not None
        self._entered = None
        with entered:
            try:
                if isinstance(failure[1], Exception):
                    _end_inside(place, place.session.withdraw)
                elif failure[1] is not None:
                    _end_inside(place, place.session.cancel)
                wait_for_all_inside(place)
            except BaseException:
                _end_inside(place, place.session.cancel)
                raise

    def __getstate__(self) -> dict[str, Any]:
        """Travel as it was written down."""
        return {name: value for name, value in vars(self).items() if name not in ("_place", "_entered")}

    def __eq__(self, other: object) -> bool:
        """Be the same as another one of the same kind with the same options."""
        return type(other) is type(self) and other.__getstate__() == self.__getstate__()

    def __hash__(self) -> int:
        """Hash what never changes."""
        return hash(type(self))

    def __repr__(self) -> str:
        """Show it as it is written."""
        return f"{type(self).__name__}()"


def _end_inside(place: Scope, end: Callable[[list[bytes]], object]) -> None:
    left = [run.run_id for run in place.open_futures()]
    if left:
        with suppress(TaskyardError):  # nobody can be told, and something else is being raised
            end(left)
