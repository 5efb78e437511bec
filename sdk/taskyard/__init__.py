"""Durable tasks and flows: decorate functions, call them, and the control plane keeps what happens.

Everything is imported when it is first used, so that ``import taskyard`` costs next to nothing.
"""

import sys
from typing import TYPE_CHECKING, Any

from taskyard._missing_features import AbsentModules, absent_names

if TYPE_CHECKING:
    from taskyard.assets import Asset, materialize
    from taskyard.client.orchestration import get_client
    from taskyard.context import headers, tags
    from taskyard.deployments import deploy
    from taskyard.exceptions import TaskyardError, register_error
    from taskyard.flow_runs import (
        apause_flow_run,
        aresume_flow_run,
        asuspend_flow_run,
        pause_flow_run,
        resume_flow_run,
        suspend_flow_run,
    )
    from taskyard.flows import Flow, aserve, flow, serve
    from taskyard.futures import Future, FutureList, as_completed, wait
    from taskyard.logging import get_run_logger
    from taskyard.remote import RemoteTask, remote_task
    from taskyard.runtime import heartbeat
    from taskyard.states import (
        AwaitingRetry,
        Cancelled,
        Cancelling,
        Completed,
        Crashed,
        Failed,
        Paused,
        Pending,
        Retrying,
        Running,
        Scheduled,
        State,
        StateType,
    )
    from taskyard.tasks import Task, exponential_backoff, task, task_input_hash
    from taskyard.transactions import Transaction
    from taskyard.utilities.annotations import allow_failure, opaque, quote, unmapped
    from taskyard.variables import Variable

__all__ = [
    "Asset",
    "Flow",
    "Future",
    "FutureList",
    "RemoteTask",
    "State",
    "StateType",
    "Task",
    "TaskyardError",
    "Transaction",
    "Variable",
    "allow_failure",
    "apause_flow_run",
    "aresume_flow_run",
    "as_completed",
    "aserve",
    "asuspend_flow_run",
    "deploy",
    "exponential_backoff",
    "flow",
    "get_client",
    "get_run_logger",
    "headers",
    "heartbeat",
    "materialize",
    "opaque",
    "pause_flow_run",
    "quote",
    "register_error",
    "remote_task",
    "resume_flow_run",
    "serve",
    "suspend_flow_run",
    "tags",
    "task",
    "task_input_hash",
    "unmapped",
    "wait",
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "__version__",
]

_STATES = [
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateType",
]
_PAUSING = ["pause_flow_run", "resume_flow_run", "suspend_flow_run"]
_HOMES = {
    "Asset": "assets",
    "materialize": "assets",
    "Flow": "flows",
    "serve": "flows",
    "aserve": "flows",
    "deploy": "deployments",
    "flow": "flows",
    "Future": "futures",
    "FutureList": "futures",
    "as_completed": "futures",
    "wait": "futures",
    "Task": "tasks",
    "task": "tasks",
    "task_input_hash": "tasks",
    "exponential_backoff": "tasks",
    "Transaction": "transactions",
    "RemoteTask": "remote",
    "remote_task": "remote",
    "TaskyardError": "exceptions",
    "register_error": "exceptions",
    "get_client": "client.orchestration",
    "get_run_logger": "logging",
    "heartbeat": "runtime",
    "Variable": "variables",
    "headers": "context",
    "tags": "context",
    "allow_failure": "utilities.annotations",
    "opaque": "utilities.annotations",
    "quote": "utilities.annotations",
    "unmapped": "utilities.annotations",
    **dict.fromkeys([*_PAUSING, *(f"a{name}" for name in _PAUSING)], "flow_runs"),
    **dict.fromkeys(_STATES, "states"),
}
_MODULES = frozenset(
    [
        "artifacts",
        "assets",
        "automations",
        "blocks",
        "cache_policies",
        "client",
        "concurrency",
        "context",
        "deployments",
        "events",
        "exceptions",
        "filesystems",
        "flow_engine",
        "flow_runs",
        "flows",
        "futures",
        "input",
        "locking",
        "logging",
        "remote",
        "results",
        "runtime",
        "schedules",
        "serializers",
        "settings",
        "states",
        "task_engine",
        "task_runners",
        "task_runs",
        "task_worker",
        "tasks",
        "testing",
        "transactions",
        "types",
        "utilities",
        "variables",
    ]
)

_absent = absent_names(__name__)
sys.meta_path.append(AbsentModules)
# Pickles that release 0.1.0 stored name modules that have moved since. Searched last, and only for names that
# are nowhere else.
__path__.append(f"{__path__[0]}/_former_names")


def __getattr__(name: str) -> Any:
    """Import a name, or a module, when it is first used."""
    import importlib

    if name == "__version__":
        from taskyard_contract.versions import VERSION

        return VERSION
    if name in _MODULES:
        return importlib.import_module(f"taskyard.{name}")
    home = _HOMES.get(name)
    if home is None:
        return _absent(name)
    value = getattr(importlib.import_module(f"taskyard.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name everything that can be imported."""
    return sorted({*globals(), *__all__, *_MODULES})
