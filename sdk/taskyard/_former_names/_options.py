"""Settings of tasks and flows, as release 0.1.0 stored them: the values of its fields, in their order."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

_COMMON: Final = (
    *("fn", "name", "description", "version", "retries", "retry_delay_seconds", "retry_delays"),
    *("timeout_seconds", "log_prints", "persist_result", "on_completion", "on_failure", "on_running"),
)


class _Stored(Mapping[str, Any]):
    """Settings as pickled then: a list of values, here by the names that the fields had."""

    names: ClassVar[tuple[str, ...]]

    def __setstate__(self, values: Sequence[Any]) -> None:
        self._values = dict(zip(self.names, values, strict=True))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class TaskSettings(_Stored):
    """What `task_options.TaskSettings` was pickled as."""

    names = (
        *_COMMON,
        *("tags", "queue", "priority", "cache_policy", "cache_key_fn", "cache_expiration", "refresh_cache"),
        *("task_run_name", "retry_jitter_factor", "retry_condition_fn", "result_storage_key"),
        *("viz_return_value", "caching", "source_code"),
    )


class FlowSettings(_Stored):
    """What `flow_options.FlowSettings` was pickled as."""

    names = (
        *_COMMON,
        *("flow_run_name", "task_runner", "validate_parameters", "final_state"),
        *("on_cancellation", "on_crashed"),
    )
