"""Names that modules of Prefect have, or had, and the modules of the same name here have not."""

from typing import Final

from taskyard._prefect_names import reasons
from taskyard._prefect_names.filters import CLASSES
from taskyard._prefect_names.reasons import here, moved
from taskyard._prefect_names.small_members import (
    BLOCKS,
    EXCEPTIONS,
    FORMATTERS,
    LOGGING,
    RUNTIME,
    TYPES,
)

_RUNNER_NAMES: Final = {
    **reasons.CLUSTER_RUNNERS,
    "PrefectDistributedTaskRunner": reasons.DISTRIBUTED,
    "PrefectTaskRunner": here("TaskyardTaskRunner"),
    "BaseTaskRunner": reasons.OWN_RUNNERS,
    "TaskConcurrencyType": (
        "a task runner says nothing about concurrency here; the one that executes run after run is"
        " SequentialTaskRunner, and ThreadPoolTaskRunner and ProcessPoolTaskRunner have max_workers"
    ),
}
_STATE_NAMES: Final = {
    "Success": here("Completed"),
    "Successful": here("Completed"),
    "Finished": (
        "state.is_final() says it; the states a run ends in are Completed, Failed, Crashed and Cancelled"
    ),
    "Skipped": reasons.SKIPPING,
    "TriggerFailed": here("NotReady") + ", a state that such a run stays in",
    "Resume": reasons.PAUSE,
    "Looped": "loop in the task, or call it in a loop of the flow",
    "Mapped": reasons.MAPPED_STATE,
    "Queued": here("AwaitingConcurrencySlot"),
    **dict.fromkeys(["Submitted", "ClientFailed", "ValidationFailed"], "no run has such a state here"),
    "to_state_create": reasons.CLIENT_CHANGES,
    **dict.fromkeys(
        ["get_state_result", "format_exception"],
        "state.result() returns the value or raises, and state.exception() returns the exception",
    ),
}

_RECORDED: Final = {
    **dict.fromkeys(["Deployment", "DeploymentSchedule"], reasons.DEPLOY),
    **dict.fromkeys(["WorkPool", "WorkQueue", "Worker"], reasons.INFRASTRUCTURE),
    **dict.fromkeys(["BlockDocument", "BlockType", "BlockSchema"], reasons.KEPT),
    "Variable": moved("taskyard.variables"),
    "ArtifactCollection": reasons.COLLECTIONS,
    **dict.fromkeys(["ConcurrencyLimit", "GlobalConcurrencyLimit"], reasons.LIMITS),
    "FlowRunInput": reasons.PAUSE,
    "TaskRunPolicy": "retries of task runs are not told; FlowRun.empirical_policy has those of a flow run",
}
_ORDERS: Final = {
    **dict.fromkeys(["DeploymentSort"], reasons.DEPLOY),
    "ArtifactCollectionSort": reasons.COLLECTIONS,
    **dict.fromkeys(["BlockDocumentSort", "VariableSort"], reasons.KEPT),
    "AutomationSort": reasons.EVENTS,
}

MEMBERS: Final[dict[str, dict[str, str]]] = {
    "filesystems": {
        "NullFileSystem": "persist_result=False says that a result is kept nowhere else",
        "SMB": reasons.SMB,
        **dict.fromkeys(["S3", "GCS", "Azure"], here("RemoteFileSystem") + ", with a URL"),
        **dict.fromkeys(["GitHub", "GitLab", "BitBucket"], reasons.STORAGE),
    },
    "variables": {
        name: here(f"Variable.{name}()") for name in ("get", "set", "unset", "aget", "aset", "aunset")
    },
    "client.orchestration": dict.fromkeys(["PrefectClient", "SyncPrefectClient"], reasons.OLD_CLIENT),
    "client": dict.fromkeys(["PrefectClient", "SyncPrefectClient"], reasons.OLD_CLIENT),
    "client.schemas.filters": CLASSES,
    "client.schemas.objects": _RECORDED,
    "client.schemas.sorting": _ORDERS,
    "results": {
        **dict.fromkeys(["BaseResult", "PersistedResult", "PersistedResultBlob"], here("ResultRecord")),
        **dict.fromkeys(["ResultFactory", "get_current_result_store"], here("get_result_store()")),
        **dict.fromkeys(
            ["aget_default_result_storage", "get_or_create_default_task_scheduling_storage"],
            here("get_default_result_storage()"),
        ),
        **dict.fromkeys(["resolve_result_storage", "resolve_serializer", "UnknownResult"], reasons.HELPERS),
    },
    "serializers": {
        **dict.fromkeys(
            ["prefect_json_object_encoder", "prefect_json_object_decoder"],
            "derive from Serializer, with dumps and loads of your own, for values that JSON does not have",
        ),
    },
    "task_worker": {
        "create_status_server": reasons.STATUS,
        **dict.fromkeys(
            ["store_parameters", "read_parameters", "should_try_to_read_parameters"], reasons.PARAMETERS
        ),
    },
    "tasks": {
        "PrefectFuture": moved("taskyard.futures"),
    },
    "flows": {
        "load_flow_from_flow_run": reasons.DEPLOY,
        "load_flow_from_text": (
            "write the text into a file, which workers can read as well, and use load_flow_from_script"
        ),
        **dict.fromkeys(["InfrastructureBoundFlow", "bind_flow_to_infrastructure"], reasons.INFRASTRUCTURE),
    },
    "futures": {
        **dict.fromkeys(["PrefectConcurrentFuture", "PrefectTaskRunFuture"], here("TaskyardFuture")),
        **dict.fromkeys(["PrefectWrappedFuture", "TaskyardWrappedFuture"], here("TaskyardFuture")),
        "PrefectFlowRunFuture": here("TaskyardFlowRunFuture"),
        "resolve_futures_to_data": here("resolve_futures_to_results"),
    },
    "states": _STATE_NAMES,
    "task_runners": _RUNNER_NAMES,
    "context": {
        **dict.fromkeys(
            [
                *(
                    "get",
                    "config",
                    "logger",
                    "date",
                    "today",
                    "yesterday",
                    "tomorrow",
                    "scheduled_start_time",
                ),
                *("flow_id", "flow_name", "flow_run_name", "task_name", "task_run_name"),
                *("task_run_count", "task_loop_count", "task_loop_result", "map_index", "parameters"),
                *("checkpointing", "secrets", "caches", "running_with_backend", "flow_run_id", "task_run_id"),
            ],
            reasons.RUN_CONTEXT,
        ),
        "ContextModel": here("RunContext", "taskyard.context"),
        **dict.fromkeys(["root_settings_context", "refresh_global_settings_context"], reasons.SETTINGS),
        "temporary_settings": moved("taskyard.settings"),
        "AssetContext": here("add_asset_metadata()", "taskyard.assets"),
    },
    "exceptions": EXCEPTIONS,
    "types": TYPES,
    "logging": LOGGING,
    "logging.loggers": LOGGING,
    "logging.formatters": FORMATTERS,
    "blocks.core": BLOCKS,
    "runtime.flow_run": RUNTIME,
    "runtime.task_run": {name: why for name, why in RUNTIME.items() if name != "root_flow_run_id"},
    "cache_policies": {"CacheKeyFn": here("CacheKeyFnPolicy")},
    "flow_runs": {"FlowRunWaiter": here("wait_for_flow_run")},
    "deployments": dict.fromkeys(
        ["DeploymentImage", "DockerImage", "EntrypointType", "RunnerDeployment", "initialize_project"],
        reasons.DEPLOY,
    ),
    "events": dict.fromkeys(
        [
            *("ActionTypes", "CompositeTrigger", "DeploymentTriggerTypes", "MetricTriggerOperator"),
            *("MetricTriggerQuery", "ResourceTrigger", "TriggerTypes"),
        ],
        reasons.EVENTS,
    ),
    "input": dict.fromkeys(
        [
            "keyset_from_paused_state",
            *(f"{verb}_flow_run_input" for verb in ("create", "read", "delete", "filter")),
        ],
        reasons.PAUSE,
    ),
    "events.clients": dict.fromkeys(
        ["PrefectEventSubscriber", "PrefectEventsClient", "AssertingEventsClient"], reasons.EVENTS
    ),
    "utilities.asyncutils": dict.fromkeys(
        [
            *("GatherIncomplete", "GatherTaskGroup", "create_gather_task_group", "LazySemaphore"),
            *("add_event_loop_shutdown_callback", "call_with_mark", "in_async_worker_thread"),
            *("run_async_from_worker_thread", "run_async_in_new_loop", "wait_to_start"),
            "run_sync_in_interruptible_worker_thread",
        ],
        reasons.HELPERS,
    ),
    "utilities.callables": dict.fromkeys(
        [
            *("expand_mapping_parameters", "generate_parameter_schema", "parameter_docstrings"),
            "parameter_schema_from_entrypoint",
        ],
        reasons.HELPERS,
    ),
    "schedules": dict.fromkeys(
        ["CronSchedule", "IntervalSchedule", "RRuleSchedule"],
        moved("taskyard.schedules (Cron, Interval, RRule)"),
    ),
    "task_runs": {"TaskRunWaiter": here("wait_for_task_run")},
    "task_engine": dict.fromkeys(
        ["TaskRunEngine", "SyncTaskRunEngine", "AsyncTaskRunEngine", "BaseTaskRunEngine"], reasons.ENGINES
    ),
    "flow_engine": {
        **dict.fromkeys(["FlowRunEngine", "AsyncFlowRunEngine", "BaseFlowRunEngine"], reasons.ENGINES),
        **dict.fromkeys(
            ["load_flow", "load_flow_run", "load_flow_and_flow_run", "run_flow_in_subprocess"], reasons.DEPLOY
        ),
        **dict.fromkeys(
            ["run_generator_flow_sync", "run_generator_flow_async"],
            "a flow of a generator returns the list of its values: run_flow_sync",
        ),
    },
    "utilities": {
        **dict.fromkeys(["flatten", "mapped"], reasons.FLATTEN),
    },
    "utilities.visualization": {"TaskVizTrackerState": here("get_task_viz_tracker()")},
    "testing.utilities": {
        "prefect_test_harness": here("taskyard_test_harness"),
        **dict.fromkeys(
            [
                "assert_blocks_equal",
                "assert_uses_result_serializer",
                "assert_uses_result_storage",
                "kubernetes_environments_equal",
            ],
            reasons.TESTING,
        ),
    },
    "utilities.annotations": {
        **dict.fromkeys(["mapped", "flatten"], reasons.FLATTEN),
        "freeze": "parameters of deployments are not in this release; give them in the call",
    },
}
"""What to do instead, by module (the package left out) and name."""
PATTERNS: Final[dict[str, tuple[str, str]]] = {"settings": ("PREFECT_", reasons.SETTINGS)}
"""Beginnings of names that are answered alike, by module."""
