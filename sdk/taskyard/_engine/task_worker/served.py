"""The tasks that a program serves, and by which names runs ask for them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from taskyard._engine.definitions.served_names import served_names
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution.offers import offer_of
from taskyard._engine.execution.served_task import ServedTask
from taskyard._engine.execution.task_body import TaskBody
from taskyard.cache_policies import DEFAULT, NO_CACHE, CachePolicy
from taskyard.exceptions import HashError
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2

AnyTask = TaskDefinition[..., Any]
MOST_NAMES: Final = 1_024
"""A control plane takes so many of an agent, and as many tasks that can be called by their names."""


def with_results_kept(task: Any) -> Any:
    """Return a task as programs have it served: its results are kept, by `DEFAULT` if it has no policy."""
    kept = task.with_options(persist_result=True)
    return kept if kept.cache_policy is not None else kept.with_options(cache_policy=DEFAULT)


class Served:
    """What a program serves. Frozen."""

    def __init__(self, tasks: Sequence[AnyTask]) -> None:
        """Serve some tasks.

        Raises:
            ValueError: There are none, more than a control plane takes, or one that other programs have no
                name for.
            TypeError: Something is no task, or one that others serve.
        """
        if not tasks:
            raise ValueError("there is no task to serve: serve(send_email, resize) serves two")
        self.tasks = [with_results_kept(_checked(task)) for task in tasks]
        self._by_code: dict[str, list[TaskBody]] = {}
        for task in tasks:
            for name in _names_of(task):
                self._by_code.setdefault(name, []).append(TaskBody(_executed(task), log_prints=False))
        if len(self._by_code) > MOST_NAMES or len(tasks) > MOST_NAMES:
            raise ValueError(
                f"{len(tasks):,} tasks have {len(self._by_code):,} names in other programs; one serves "
                f"at most {MOST_NAMES:,}: have several, or define the tasks in a module and not in the file "
                "that is started, which may have several names"
            )
        # Of two tasks with one name nobody could say which is meant.
        times = Counter(task.name for task in tasks)
        self._by_name = {task.name: ServedTask(task, shown=True) for task in tasks if times[task.name] == 1}

    @property
    def names(self) -> tuple[str, ...]:
        """What templates name, see `RunTemplate.served_as`."""
        return tuple(self._by_code)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that their runs wait in."""
        return tuple(dict.fromkeys(task.settings.queue for task in self.tasks))

    def offers(self) -> list[pb.TaskOffer]:
        """Say what can be called by its name alone, in any language."""
        return [offer_of(body.task) for body in self._by_name.values()]

    def code_of(self, template: template_pb2.RunTemplate) -> TaskBody | None:
        """Return what executes the runs of a template; None when it is nothing of this."""
        if template.code.task_name:
            return self._by_name.get(template.code.task_name)
        found = self._by_code.get(template.served_as, [])
        # One function may be several tasks, by `with_options`.
        return next((body for body in found if body.task.name == template.name), found[0] if found else None)


def _executed(task: Any) -> AnyTask:
    """Return a task as its runs are executed: with results kept, and with keys only if it says of what.

    Outside of flows keys of the policy `DEFAULT` hold the id of the run, so nothing is ever found by them: to
    have each of them decided would be for nothing.
    """
    own = task.settings
    says = isinstance(own.cache_policy, CachePolicy) and own.cache_policy != NO_CACHE
    keyed = says or own.cache_key_fn is not None or own.result_storage_key is not None
    options = {} if keyed else {"cache_policy": NO_CACHE}
    executed: AnyTask = task.with_options(persist_result=True, **options)
    return executed


def _checked(task: object) -> AnyTask:
    if not isinstance(task, TaskDefinition):
        raise TypeError(f"only tasks can be served, got {task!r}; decorate the function with @task")
    if task.is_remote:
        raise TypeError(f"'{task.name}' is a task of others, who serve it; serve one whose function is here")
    return task


def _names_of(task: AnyTask) -> Iterable[str]:
    try:
        return served_names(task.fn)
    except HashError as error:
        raise ValueError(
            f"task '{task.name}' cannot be served: {error}; have its function in a module, not inside of "
            "another function"
        ) from None
