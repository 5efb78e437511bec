"""What programs for Prefect 3 import is there once ``prefect``, in all its spellings, was replaced."""

import pytest

IMPORTS = {
    "prefect": """
        allow_failure aserve deploy flow Flow get_client get_run_logger pause_flow_run resume_flow_run runtime
        serve State suspend_flow_run tags task Task Transaction unmapped
    """,
    "prefect.automations": "Automation CancelFlowRun EventTrigger Posture ResourceSpecification",
    "prefect.cache_policies": "CachePolicy DEFAULT INPUTS NO_CACHE RUN_ID TASK_SOURCE",
    "prefect.client.schemas.objects": "TERMINAL_STATES",
    "prefect.concurrency.asyncio": "concurrency ConcurrencySlotAcquisitionError rate_limit",
    "prefect.concurrency.sync": "concurrency rate_limit",
    "prefect.context": """
        AsyncClientContext EngineContext FlowRunContext get_run_context get_settings_context
        hydrated_context RunContext serialize_context SettingsContext SyncClientContext tags
        TagsContext TaskRunContext use_profile
    """,
    "prefect.deployments": "arun_deployment deploy run_deployment",
    "prefect.events": """
        Automation CompoundTrigger DeploymentEventTrigger DoNothing emit_event Event EventTrigger
        get_events_client get_events_subscriber ReceivedEvent RelatedResource Resource
        ResourceSpecification RunDeployment SequenceTrigger Trigger
    """,
    "prefect.events.clients": "get_events_client",
    "prefect.events.schemas.events": "Event Resource",
    "prefect.events.utilities": "emit_event",
    "prefect.flow_engine": "run_flow run_flow_async run_flow_sync",
    "prefect.exceptions": """
        CancelledRun ConfigurationError CrashedRun ExternalSignal FailedRun FlowPauseTimeout
        FlowRunWaitTimeout NotPausedError
        HashError InvalidNameError MappingLengthMismatch MappingMissingIterable
        MissingContextError MissingResult ObjectAlreadyExists ObjectNotFound ParameterBindError
        ParameterTypeError PausedRun PrefectException PrefectSignal ReservedArgumentError
        SerializationError SignatureMismatchError TerminationSignal UnfinishedRun
        UpstreamTaskError
    """,
    "prefect.flow_runs": "pause_flow_run resume_flow_run suspend_flow_run wait_for_flow_run",
    "prefect.flows": "flow Flow FlowStateHook serve StateHookCallable",
    "prefect.futures": """
        as_completed DoneAndNotDoneFutures PrefectConcurrentFuture PrefectDistributedFuture
        PrefectFlowRunFuture PrefectFuture PrefectFutureList PrefectTaskRunFuture
        resolve_futures_to_results resolve_futures_to_states wait
    """,
    "prefect.input": "receive_input RunInput run_input_subclass_from_type send_input",
    "prefect.input.run_input": "AutomaticRunInput RunInput",
    "prefect.logging": "disable_run_logger get_logger get_run_logger",
    "prefect.logging.loggers": """
        disable_run_logger flow_run_logger get_logger get_run_logger task_run_logger
    """,
    "prefect.runtime": "deployment flow_run task_run",
    "prefect.runtime.deployment": "flow_run_id id name parameters version",
    "prefect.runtime.flow_run": "id job_variables name parent_deployment_id",
    "prefect.schedules": "Cron Interval RRule Schedule",
    "prefect.settings": """
        get_current_settings load_profiles PREFECT_API_URL PREFECT_HOME PREFECT_LOCAL_STORAGE_PATH
        PREFECT_LOGGING_LEVEL PREFECT_RESULTS_PERSIST_BY_DEFAULT PREFECT_TASK_DEFAULT_RETRIES
        PREFECT_TASKS_DEFAULT_RETRIES Profile Settings temporary_settings
    """,
    "prefect.states": """
        AwaitingConcurrencySlot AwaitingRetry Cancelled Cancelling Completed Crashed
        exception_to_crashed_state exception_to_failed_state Failed get_state_exception is_state
        is_state_iterable Late Paused Pending raise_state_exception Retrying return_value_to_state
        Running Scheduled State StateGroup StateType Suspended
    """,
    "prefect.task_runners": "TaskRunner ThreadPoolTaskRunner",
    "prefect.task_engine": "run_task run_task_async run_task_sync TaskRunTimeoutError",
    "prefect.tasks": """
        exponential_backoff OneOrManyFutureOrResult StateHookCallable Task task task_input_hash TaskOptions
        TaskRunNameCallbackWithParameters
    """,
    "prefect.types": """
        DateTime LogLevel Name NonEmptyishName NonNegativeFloat NonNegativeInteger PositiveInteger
        StrictVariableValue TimeZone
    """,
    "prefect.utilities.annotations": "allow_failure BaseAnnotation NotSet opaque quote unmapped",
    "prefect.utilities.asyncutils": """
        asyncnullcontext gather in_async_main_thread is_async_fn is_async_gen_fn run_coro_as_sync
        run_sync_in_worker_thread sync_compatible
    """,
    "prefect.utilities.callables": """
        call_with_parameters cloudpickle_wrapped_call collapse_variadic_parameters
        explode_variadic_parameter get_call_parameters get_parameter_defaults
        parameter_schema parameters_to_args_kwargs ParameterSchema raise_for_reserved_arguments
    """,
    "prefect.utilities.collections": """
        AutoEnum batched_iterable dict_to_flatdict distinct ensure_iterable extract_instances
        flatdict_to_dict get_from_dict isiterable listrepr remove_nested_keys StopVisiting
        visit_collection
    """,
    "prefect.utilities.hashing": "file_hash hash_objects stable_hash",
}


@pytest.mark.parametrize("module", IMPORTS)
def test_replacements_are_the_migration(module: str) -> None:
    statement = f"from {module} import {', '.join(IMPORTS[module].split())}"
    for theirs, ours in (("prefect", "taskyard"), ("Prefect", "Taskyard"), ("PREFECT_", "TASKYARD_")):
        statement = statement.replace(theirs, ours)
    exec(statement, {})
