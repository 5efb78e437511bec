"""The run that the current code belongs to; taken along to other threads and processes; tags and headers."""

import sys
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.records import FlowRun, TaskRun
from taskyard._missing_features import DictionaryOfFormer, absent_names
from taskyard.context.carried import hydrated_context, serialize_context
from taskyard.context.runs import (
    EngineContext,
    FlowRunContext,
    RunContext,
    TagsContext,
    TaskRunContext,
    current_context,
    current_headers,
    current_tags,
    get_run_context,
    headers,
    tags,
)
from taskyard.context.runs import Parameters as Parameters
from taskyard.context.runs import active_transaction as active_transaction
from taskyard.context.runs import begin_anew as begin_anew
from taskyard.context.runs import current_transaction as current_transaction
from taskyard.context.runs import transaction_here as transaction_here

if TYPE_CHECKING:
    from taskyard.context.of_settings import SettingsContext, get_settings_context
    from taskyard.settings.profiles import use_profile

    # Without their types: they stand on clients, which stand above.
    AsyncClientContext: Any
    SyncClientContext: Any

__all__ = [
    "AsyncClientContext",
    "EngineContext",
    "FlowRun",
    "FlowRunContext",
    "RunContext",
    "SettingsContext",
    "SyncClientContext",
    "TagsContext",
    "TaskRun",
    "TaskRunContext",
    "current_context",
    "current_headers",
    "current_tags",
    "get_run_context",
    "get_settings_context",
    "headers",
    "hydrated_context",
    "serialize_context",
    "tags",
    "use_profile",
]

_LATER: Final = {
    "AsyncClientContext": "taskyard.client.orchestration.contexts",
    "SyncClientContext": "taskyard.client.orchestration.contexts",
    "SettingsContext": "taskyard.context.of_settings",
    "get_settings_context": "taskyard.context.of_settings",
    "use_profile": "taskyard.settings.profiles",
}
"""Names whose homes are imported when they are first used, as text: some of them stand above this module."""

if not TYPE_CHECKING:  # type checkers would stop checking names
    _absent = absent_names(__name__)

    def __getattr__(name: str) -> Any:
        """Import what few programs use when it is first used."""
        if name not in _LATER:
            return _absent(name)
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)


sys.modules[__name__].__class__ = DictionaryOfFormer
