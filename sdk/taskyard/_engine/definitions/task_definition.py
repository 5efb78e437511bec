"""What a task is before anybody calls it, and what of it travels to workers.

`taskyard.tasks.Task` inherits it and adds the calls. Workers get the very class that users see, so hooks and
`taskyard.context` show them what they know; the engine asks for no more than this.
"""

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self

from taskyard import _durable_names
from taskyard._data.identity.program_code import qualified_name
from taskyard._data.values.hashing import task_key
from taskyard._engine.assets.in_use import use
from taskyard._engine.definitions import key_problems
from taskyard._engine.definitions.decorated import Decorated, Hook, P, R
from taskyard._engine.definitions.importable import reference_of
from taskyard._engine.definitions.task_options import TaskSettings
from taskyard._engine.futures.typed import Reading
from taskyard.context import FlowRunContext, TaskRunContext
from taskyard_contract.code_references import function_at
from taskyard_contract.languages.encoding_names import PICKLE

if TYPE_CHECKING:
    from taskyard._engine.results.plans import ResultPlan

logger = logging.getLogger("taskyard.tasks")

STAGED: Final = "staged"
"""What `TaskDefinition.staged` is kept under, among what it inherits."""


class TaskDefinition(Decorated[P, R, TaskSettings], Generic[P, R]):
    """A function with the options of a task."""

    kind = "task"
    is_remote: ClassVar[bool] = False
    """Whether its code is elsewhere: it is called by its name, and its arguments are JSON."""
    settings_kind: ClassVar[type[TaskSettings]] = TaskSettings
    """What its options are."""
    materializes: ClassVar[bool] = False
    """Whether its runs make assets, of which something is recorded when they end."""
    is_staged: bool = False
    """Whether its runs belong to a transaction of the process that submits them, which calls their hooks."""
    reading: Reading | None
    """How its results are read, where they are no pickles, or are not kept."""
    results: "ResultPlan | None"
    """What becomes of its results, beside being reported."""

    def _configure(self, settings: TaskSettings) -> None:
        """Compute everything that all calls have in common."""
        super()._configure(settings)
        fn = settings.fn
        self.tags = set(settings.tags)
        self._show(settings)
        if settings.asset_deps or self.materializes:
            use.begun = True
        self.task_key = task_key(settings.name, fn, settings.tags)
        self.cache_policy = settings.caching
        self.has_cache_key = self.cache_policy is not None
        self.shares_keys = self.cache_policy is not None and self.cache_policy.of_inputs_alone
        # Whether a call, or a worker, has anything to do beyond handing the arguments on.
        self.call_work = self.has_cache_key or settings.task_run_name is not None
        self.reading = self._own_reading(settings)
        # What generators give is handed over one by one; nothing of that stands for another run.
        self.results = None if self.isgenerator else settings.result_plan(settings.cache_expiration)
        self.worker_work = self.call_work or bool(settings.on_running) or self.results is not None

    def _own_reading(self, settings: TaskSettings) -> Reading | None:
        encoding = settings.wire_result_encoding
        if settings.cache_result_in_memory:
            return Reading(settings.name, encoding) if encoding else None
        return Reading(settings.name, encoding or PICKLE, keeps=False)

    def _show(self, settings: TaskSettings) -> None:
        """Let the options be read where users look for them."""
        self.retry_jitter_factor = settings.retry_jitter_factor
        self.retry_condition_fn = settings.retry_condition_fn
        self.cache_key_fn = settings.cache_key_fn
        self.cache_expiration = settings.cache_expiration
        self.refresh_cache = settings.refresh_cache
        self.task_run_name = settings.task_run_name
        self.asset_deps = list(settings.asset_deps)
        self.on_commit_hooks = list(settings.on_commit)
        self.on_rollback_hooks = list(settings.on_rollback)

    def on_commit(self, fn: Hook) -> Hook:
        """Add a hook ``(transaction)``, called when a run's transaction commits. A decorator."""
        return self._add_hook("on_commit", fn)

    def on_rollback(self, fn: Hook) -> Hook:
        """Add a hook ``(transaction)``, called when what a completed run did is to be undone. A decorator."""
        return self._add_hook("on_rollback", fn)

    def staged(self) -> Self:
        """Return the same for runs inside a transaction: whoever executes them leaves its hooks alone."""
        heir = self._heirs.get(STAGED)
        if heir is None:
            heir = self._with({"on_commit": (), "on_rollback": ()})
            heir.is_staged = True
            self._heirs[STAGED] = heir
        return heir

    def cache_key_of(self, context: TaskRunContext) -> str | None:
        """Return the cache key of a run, or None for no caching.

        A key that cannot be computed never fails a run: that is said once, and the run is executed uncached.
        """
        policy = self.cache_policy
        if policy is None:
            return None
        flow_context = FlowRunContext.get()
        flow_parameters = flow_context.parameters if flow_context is not None else None
        try:
            key = policy.compute_key(context, context.parameters, flow_parameters)
            if key is not None:
                key.encode()  # it travels as UTF-8
                if self.shares_keys:
                    key_problems.shared(key, self.name, qualified_name(self.fn))
                if self.results is not None:
                    return self.results.key_for_all(key)
            return key
        except Exception as error:  # user code
            key_problems.no_key(self.name, self.task_key, error)
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel under a durable name; made empty and filled later, because a task may refer to itself."""
        return _durable_names.task, _durable_names.own_kind("task", self), self._pickled()

    def _pickled(self) -> dict[str, Any]:
        """Return what cannot be made anew in another process; the function by reference where that works."""
        state = {
            "prefix": self._prefix,
            "classmethod": self.isclassmethod,
            "staticmethod": self.isstaticmethod,
        }
        if self.is_staged:
            state["staged"] = True
        reference = reference_of(self.settings.fn)
        if reference is None:
            return {**state, "settings": self.settings.values()}
        # Without what is as by default: a worker of another release need not know an option nobody uses.
        carried = self.settings.options.__annotations__
        own = {name: value for name, value in self.settings.values().items() if name in carried}
        return {**state, "reference": reference, "options": own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same task in another process."""
        self._prefix = state["prefix"]
        self.isclassmethod = state["classmethod"]
        self.isstaticmethod = state["staticmethod"]
        self.is_staged = state.get("staged", False)
        given = state.get("settings")
        if given is None:
            settings = self.settings_kind(fn=function_at(state["reference"]), **state["options"])
        else:
            settings = self.settings_kind.restored(given)
        self._configure(settings)
