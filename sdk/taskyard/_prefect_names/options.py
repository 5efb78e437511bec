"""Options of tasks and flows that Prefect has, or had, and arguments that its calls take."""

from typing import Final

from taskyard._prefect_names import reasons

ABSENT: Final[dict[str, str]] = {}
"""Options of the newest Prefect. None is taken for them, as programs say it that do not use them."""

_STATE_HANDLERS: Final = (
    "state handlers are hooks here: on_running, on_completion and on_failure, called with task, run and"
    " state;"
    " what they return does not change the state"
)
_BOTH: Final[dict[str, str]] = {
    "state_handlers": _STATE_HANDLERS,
    "result": reasons.RESULTS,
    "result_handler": reasons.RESULTS,
    "schedule": reasons.DEPLOY,
    "assets": reasons.ASSETS,
    "materialized_by": reasons.ASSETS,
    "concurrency_limit": reasons.LIMITS,
    "log_stdout": "it is log_prints=True here",
}
FORMER: Final[dict[str, dict[str, str]]] = {
    "task": {
        **_BOTH,
        "max_retries": "it is retries=... here",
        "retry_delay": (
            "it is retry_delay_seconds=... here, a number of seconds, a list of them, or a callable"
        ),
        "retry_on": (
            "it is retry_condition_fn=... here, called with task, run and state: lambda task, run, state:"
            " isinstance(state.data, OSError)"
        ),
        "timeout": "it is timeout_seconds=... here",
        "trigger": reasons.TRIGGERS,
        "skip_on_upstream_skip": reasons.SKIPPING,
        "cache_for": "it is cache_expiration=timedelta(...) here, with cache_policy=INPUTS or cache_key_fn",
        "cache_validator": (
            "it is cache_policy=... here, from taskyard.cache_policies: INPUTS for all_inputs, or INPUTS"
            " - 'name'"
            " for partial_inputs_only"
        ),
        "cache_key": "it is cache_key_fn=... here, called with the run's context and its parameters",
        "checkpoint": "it is persist_result=... here",
        "target": "it is result_storage_key='{parameters[x]}' here: runs with an equal key share one result",
        "slug": "name='...' is what tells tasks apart here, with their function and tags; see task.task_key",
        "nout": "a task that returns a tuple is one value; take result() apart",
        "task_args": "it is task.with_options(...)(...) here",
        "upstream_tasks": "it is wait_for=[...] here, an argument of the call",
        "mapped": "it is task.map(...) here",
    },
    "flow": {
        **_BOTH,
        "tags": "there is none of that name; with taskyard.tags('x'): around the call tags everything in it",
        "state_handlers": _STATE_HANDLERS + "; flows have on_cancellation and on_crashed as well",
        "executor": reasons.EXECUTORS,
        "environment": reasons.EXECUTORS,
        "run_config": reasons.INFRASTRUCTURE,
        "storage": reasons.STORAGE,
        **dict.fromkeys(["tasks", "edges", "validate"], reasons.IMPERATIVE),
        **dict.fromkeys(
            ["reference_tasks", "terminal_state_handler"],
            "what the function returns decides how the flow ends; with final_state='all' and nothing"
            " returned, all"
            " its runs do",
        ),
        "flow_runner": reasons.INFRASTRUCTURE,
        **dict.fromkeys(["cron", "interval"], reasons.DEPLOY),
        **dict.fromkeys(
            ["max_retries", "retry_delay", "timeout"],
            "it is retries=..., retry_delay_seconds=... and timeout_seconds=... here",
        ),
    },
}
"""Options of former Prefects, of which none is taken: by kind and name."""

CALLS: Final[dict[str, str]] = {
    "upstream_tasks": "it is wait_for=[...] here",
    "task_args": "it is task.with_options(...)(...) here",
    "mapped": "it is task.map(...) here",
    "flow": "a call belongs to the flow whose function makes it",
    "parameters": "a flow's parameters are the arguments of its call: flow(x=1)",
    "run_on_schedule": reasons.DEPLOY,
}
"""Arguments that calls of tasks and flows took, which functions here do not have."""
