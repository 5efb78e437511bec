"""Methods and attributes that objects of Prefect's have, or had, and those of Taskyard have not."""

from typing import Final

from taskyard._prefect_names import reasons
from taskyard._prefect_names.client import CALLS

_DEPLOYING: Final = dict.fromkeys(
    ["deploy", "adeploy", "to_deployment", "ato_deployment", "from_source", "afrom_source"], reasons.DEPLOY
)
_GRAPH: Final = (
    "Prefect 1's graphs are not in this release; in a function with @flow, what is passed on makes the"
    " order, and"
    " wait_for=[...] where nothing is"
)
_HANDLERS: Final = "it has on_running, on_completion and on_failure here"
_OWN_STATES: Final = {
    "is_successful": "it is is_completed() here",
    "is_finished": "it is is_final() here",
    "is_skipped": reasons.SKIPPING,
    **dict.fromkeys(["is_mapped", "map_states", "n_map_states"], reasons.MAPPED_STATE),
    "is_retrying": "state.name is 'Retrying' or 'AwaitingRetry' then",
    "is_cached": "state.name is 'Cached' then",
    **dict.fromkeys(
        ["is_queued", "is_submitted", "is_looped", "is_meta_state"], "no run has such a state here"
    ),
    "cached_inputs": "results are cached by the control plane: see cache_policy, and 'taskyard cache --help'",
    "fresh_copy": "states never change, so copies are not needed",
    "to_state_create": reasons.CLIENT_CHANGES,
    "serialize": "states are pickled as they are",
    "details": "it is state.state_details here",
    "run_count": (
        "taskyard.runtime.task_run.run_count has it inside of the run, and 'taskyard run show' outside"
    ),
    "start_time": "it is state.timestamp here, the time at which the run came into the state",
    "context": "taskyard.runtime.task_run and taskyard.runtime.flow_run have it inside of the run",
}

ATTRIBUTES: Final[dict[str, dict[str, str]]] = {
    "task": {
        **_DEPLOYING,
        "visualize": reasons.GRAPHS,
        "run": "call the task itself, which records a run, or .fn(...), the bare function, as tests do",
        **dict.fromkeys(
            [
                *("bind", "set_upstream", "set_downstream", "set_dependencies", "add_flow", "pipe", "inputs"),
                *("or_", "not_", "is_equal", "outputs"),
            ],
            _GRAPH,
        ),
        "copy": "it is with_options(...) here, which returns another task",
        "slug": "it is task_key here",
        "max_retries": "it is retries here",
        "retry_delay": "it is retry_delay_seconds here",
        "timeout": "it is timeout_seconds here",
        "trigger": reasons.TRIGGERS,
        **dict.fromkeys(["cache_for", "cache_validator"], "it is cache_expiration, with cache_policy, here"),
        **dict.fromkeys(["checkpoint", "target", "result"], reasons.RESULTS),
        "state_handlers": _HANDLERS,
        "log_stdout": "it is log_prints here",
        "logger": "it is taskyard.get_run_logger(), called inside of the function",
        "skip_on_upstream_skip": reasons.SKIPPING,
        "auto_generated": _GRAPH,
        **dict.fromkeys(["assets", "materialized_by"], reasons.ASSETS),
    },
    "flow": {
        "run": "call the flow itself, or with return_state=True to get its state as Prefect 1 does",
        **dict.fromkeys(
            [
                *("add_task", "add_edge", "chain", "set_dependencies", "tasks", "edges", "update", "replace"),
                *("root_tasks", "terminal_tasks", "sorted_tasks", "get_tasks", "upstream_tasks"),
                *("downstream_tasks", "edges_to", "edges_from", "all_upstream_edges", "all_downstream_edges"),
                *("copy", "constants", "slugs", "validate"),
            ],
            reasons.IMPERATIVE,
        ),
        **dict.fromkeys(
            ["reference_tasks", "set_reference_tasks"],
            "what the function returns decides how the flow ends; with final_state='all' and nothing"
            " returned, all"
            " its runs do",
        ),
        **dict.fromkeys(
            ["register", "serialize", "save", "load", "storage", "serialized_hash"], reasons.STORAGE
        ),
        "run_agent": "start an agent with 'taskyard agent start'",
        **dict.fromkeys(["environment", "executor"], reasons.EXECUTORS),
        "run_config": reasons.INFRASTRUCTURE,
        "schedule": reasons.DEPLOY,
        "state_handlers": _HANDLERS + ", and on_cancellation and on_crashed",
        **dict.fromkeys(
            ["submit", "map"], "call the flow; several async flows run at once in asyncio.gather(...)"
        ),
        **dict.fromkeys(["delay", "apply_async"], reasons.DEPLOY),
    },
    "state": _OWN_STATES,
    "future": {
        "exception": "future.result(raise_on_failure=False) returns it, and future.wait().exception()",
        **dict.fromkeys(["running", "cancelled"], "future.state.is_running() and .is_cancelled() say it"),
        "final_state": "it is future.wait() here, or future.state once it has ended",
        "task_run": "taskyard.task_runs.read_task_run(future.task_run_id) reads it",
        **dict.fromkeys(["key", "name"], "taskyard.task_runs.read_task_run(future.task_run_id).name has it"),
        **dict.fromkeys(
            ["wrapped_future", "asynchronous"],
            "there is nothing behind a future; result, wait and await work anywhere",
        ),
        "get": "it is result() here",
        **dict.fromkeys(["set_upstream", "set_downstream"], _GRAPH),
    },
    "client": CALLS,
}
"""What to do instead, by kind of object and attribute."""
