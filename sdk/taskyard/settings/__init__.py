"""What the environment says. The only module of the SDK that reads it.

Everything is read when it is asked for, not when it is imported: programs set variables, and tests change
them, after that.

| variable | meaning |
|---|---|
| `TASKYARD_SERVER` | the control plane, ``HOST:PORT`` or ``unix:PATH``; without it the local yard |
| `TASKYARD_HOME` | directory of the local yard; without it ``~/.taskyard`` |
| `TASKYARD_TASK_RUNNER` | who executes the task runs of flows that do not say it: ``agents`` or ``threads`` |
| `TASKYARD_TASK_CALLS` | what calls of tasks return in flows that do not say it: ``value`` or ``future`` |
| `TASKYARD_FORWARD_ENV` | names of variables that workers on other machines are to have, with commas |
| `TASKYARD_OUTPUT` | how output of tasks on agents is shown: ``raw``, ``prefixed`` by their names, ``off`` |
| `TASKYARD_PROGRESS` | ``off``: no line on a terminal that says how far flow runs are; without it ``on`` |
| `TASKYARD_RESULTS_PERSIST_BY_DEFAULT` | ``on``: what does not say it has ``persist_result=True`` |
| `TASKYARD_TASKS_DEFAULT_PERSIST_RESULT` | the same for tasks, before their flow |
| `TASKYARD_RESULTS_DEFAULT_STORAGE` | where they go, a path or a URL |
| `TASKYARD_RESULTS_DEFAULT_SERIALIZER` | what writes them; without it ``pickle`` |
| `TASKYARD_RESULTS_LOCAL_STORAGE_PATH` | where a `ResultStore` writes by itself |
| `TASKYARD_RESULTS_IN_MEMORY` | MiB of results that futures keep; without it 256 |
| `TASKYARD_LOG_LEVEL` | lowest level of Taskyard's own loggers, by name or number; without it ``INFO`` |
| `TASKYARD_TASKS_DEFAULT_RETRIES` | retries of tasks that do not say it, read when they are decorated |
| `TASKYARD_TASKS_DEFAULT_RETRY_DELAY_SECONDS` | the same of their delays: a number, or a list, ``[1, 10]`` |
| `TASKYARD_FLOWS_DEFAULT_RETRIES` | the same for flows |
| `TASKYARD_FLOWS_DEFAULT_RETRY_DELAY_SECONDS` | the same for flows |

As objects, in sections, they are in `get_current_settings()`; `temporary_settings` has other ones in a block.
"""

from typing import TYPE_CHECKING, Any, Final

from taskyard._missing_features import absent_names
from taskyard.settings.environment import HOME as HOME
from taskyard.settings.environment import PROGRESS as PROGRESS
from taskyard.settings.environment import RESULT_STORAGE as RESULT_STORAGE
from taskyard.settings.environment import RESULTS_PATH as RESULTS_PATH
from taskyard.settings.environment import SERVER as SERVER
from taskyard.settings.environment import TASK_RUNNER as TASK_RUNNER
from taskyard.settings.environment import Results as Results
from taskyard.settings.environment import (
    default_retries,
    default_retry_delay,
    forwarded_variables,
    has_animated_terminal,
    home,
    log_level,
    output,
    results,
    results_in_memory,
    results_path,
    server,
    shows_progress,
    task_calls,
    task_runner,
    variables,
    wants_colours,
)

if TYPE_CHECKING:
    from taskyard.settings.current import Setting, get_current_settings, temporary_settings
    from taskyard.settings.models import Settings
    from taskyard.settings.profiles import (
        Profile,
        ProfilesCollection,
        load_current_profile,
        load_profile,
        load_profiles,
        save_profiles,
        update_current_profile,
    )

__all__ = [
    "Profile",
    "ProfilesCollection",
    "Setting",
    "Settings",
    "default_retries",
    "default_retry_delay",
    "forwarded_variables",
    "get_current_settings",
    "has_animated_terminal",
    "home",
    "load_current_profile",
    "load_profile",
    "load_profiles",
    "log_level",
    "output",
    "results",
    "results_in_memory",
    "results_path",
    "save_profiles",
    "server",
    "shows_progress",
    "task_calls",
    "task_runner",
    "temporary_settings",
    "update_current_profile",
    "variables",
    "wants_colours",
]

_OBJECTS: Final = {
    "Setting": "current",
    "get_current_settings": "current",
    "temporary_settings": "current",
    "Settings": "models",
    **dict.fromkeys(
        ["Profile", "ProfilesCollection", "load_current_profile", "load_profile", "load_profiles"], "profiles"
    ),
    **dict.fromkeys(["save_profiles", "update_current_profile"], "profiles"),
}
"""Names in modules that are large to import, with pydantic, and that few programs use."""

if not TYPE_CHECKING:  # type checkers would stop checking names
    _absent = absent_names(__name__)

    def __getattr__(name: str) -> Any:
        """Import what is large when it is first used; a setting by the name that programs know."""
        from importlib import import_module

        if name in _OBJECTS:
            return getattr(import_module(f"{__name__}.{_OBJECTS[name]}"), name)
        if name.startswith("TASKYARD_"):
            current = import_module(f"{__name__}.current")
            if name in current.NAMES:
                return current.Setting(name)
        return _absent(name)
