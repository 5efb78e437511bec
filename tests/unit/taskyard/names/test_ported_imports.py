"""What programs for Prefect 3 import is there after ``s/prefect/taskyard/; s/Prefect/Taskyard/``."""

import pytest

IMPORTS = {
    "prefect": "allow_failure flow Flow get_run_logger runtime State tags task Task unmapped",
    "prefect.cache_policies": "CachePolicy DEFAULT INPUTS NO_CACHE RUN_ID TASK_SOURCE",
    "prefect.context": """
        EngineContext FlowRunContext get_run_context RunContext tags TagsContext TaskRunContext
    """,
    "prefect.exceptions": """
        CancelledRun ConfigurationError CrashedRun ExternalSignal FailedRun FlowRunWaitTimeout
        HashError InvalidNameError MappingLengthMismatch MappingMissingIterable
        MissingContextError MissingResult ObjectAlreadyExists ObjectNotFound ParameterBindError
        ParameterTypeError PausedRun PrefectException PrefectSignal ReservedArgumentError
        SerializationError SignatureMismatchError TerminationSignal UnfinishedRun
        UpstreamTaskError
    """,
    "prefect.flow_runs": "wait_for_flow_run",
    "prefect.flows": "flow Flow",
    "prefect.futures": """
        as_completed DoneAndNotDoneFutures PrefectConcurrentFuture PrefectDistributedFuture
        PrefectFlowRunFuture PrefectFuture PrefectFutureList PrefectTaskRunFuture
        resolve_futures_to_results resolve_futures_to_states wait
    """,
    "prefect.logging": "disable_run_logger get_logger get_run_logger",
    "prefect.logging.loggers": """
        disable_run_logger flow_run_logger get_logger get_run_logger task_run_logger
    """,
    "prefect.runtime": "flow_run task_run",
    "prefect.states": """
        AwaitingConcurrencySlot AwaitingRetry Cancelled Cancelling Completed Crashed
        exception_to_crashed_state exception_to_failed_state Failed get_state_exception is_state
        is_state_iterable Late Paused Pending raise_state_exception Retrying return_value_to_state
        Running Scheduled State StateGroup StateType Suspended
    """,
    "prefect.task_runners": "TaskRunner ThreadPoolTaskRunner",
    "prefect.tasks": "exponential_backoff Task task task_input_hash",
    "prefect.types": """
        DateTime LogLevel Name NonEmptyishName NonNegativeFloat NonNegativeInteger PositiveInteger
        StrictVariableValue TimeZone
    """,
    "prefect.utilities.annotations": "allow_failure BaseAnnotation NotSet opaque quote unmapped",
    "prefect.utilities.asyncutils": """
        gather in_async_main_thread is_async_fn is_async_gen_fn run_coro_as_sync
        run_sync_in_worker_thread sync_compatible
    """,
    "prefect.utilities.callables": """
        call_with_parameters cloudpickle_wrapped_call collapse_variadic_parameters
        explode_variadic_parameter get_call_parameters get_parameter_defaults
        parameters_to_args_kwargs raise_for_reserved_arguments
    """,
    "prefect.utilities.collections": """
        AutoEnum batched_iterable dict_to_flatdict distinct ensure_iterable extract_instances
        flatdict_to_dict get_from_dict isiterable listrepr remove_nested_keys StopVisiting
        visit_collection
    """,
    "prefect.utilities.hashing": "file_hash hash_objects stable_hash",
}


@pytest.mark.parametrize("module", IMPORTS)
def test_both_replacements_are_the_migration(module: str) -> None:
    statement = f"from {module} import {', '.join(IMPORTS[module].split())}"
    exec(statement.replace("prefect", "taskyard").replace("Prefect", "Taskyard"), {})
