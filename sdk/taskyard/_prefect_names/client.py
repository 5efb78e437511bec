"""Calls that Prefect's clients make, and Taskyard's do not."""

from typing import Final

from taskyard._prefect_names import reasons

_WORK_POOLS: Final = "there are no work pools, by design: agents take runs from queues"

CALLS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ["create_flow_run", "create_task_run", "create_flow", "create_flow_from_name", "create_logs"],
        reasons.CLIENT_CHANGES,
    ),
    **dict.fromkeys(
        [
            *("update_flow_run", "set_flow_run_name", "set_task_run_name", "update_flow_run_labels"),
            *("update_flow", "delete_flow"),
        ],
        reasons.RECORDED_CHANGES,
    ),
    **dict.fromkeys(
        ["delete_flow_run", "delete_task_run"],
        "single runs are not removed here; 'taskyard prune' removes what is over, and retention does",
    ),
    "resume_flow_run": reasons.PAUSE,
    **dict.fromkeys(
        [f"{verb}_flow_run_input" for verb in ("create", "filter", "read", "delete")], reasons.PAUSE
    ),
    **dict.fromkeys(
        [
            *("create_flow_run_from_deployment", "create_deployment", "read_deployment", "read_deployments"),
            *(
                "read_deployment_by_name",
                "update_deployment",
                "delete_deployment",
                "apply_slas_for_deployment",
            ),
            *("pause_deployment", "resume_deployment", "create_deployment_schedules"),
            *("read_deployment_schedules", "update_deployment_schedule", "delete_deployment_schedule"),
            *("get_scheduled_flow_runs_for_deployments", "set_deployment_paused_state"),
        ],
        reasons.DEPLOY,
    ),
    **dict.fromkeys(
        [
            *(
                "create_work_pool",
                "read_work_pool",
                "read_work_pools",
                "update_work_pool",
                "delete_work_pool",
            ),
            *("create_work_queue", "read_work_queue", "read_work_queues", "read_work_queue_by_name"),
            *("update_work_queue", "delete_work_queue", "match_work_queues", "read_work_queue_status"),
            *("send_worker_heartbeat", "read_workers_for_work_pool", "get_runs_in_work_queue"),
            "get_scheduled_flow_runs_for_work_pool",
        ],
        _WORK_POOLS,
    ),
    **dict.fromkeys(
        [
            *(f"{verb}_block_document" for verb in ("create", "read", "update", "delete")),
            *(
                "read_block_document_by_name",
                "read_block_documents",
                "read_block_types",
                "read_block_schemas",
            ),
            *("create_variable", "update_variable", "read_variables"),
            *("read_variable_by_name", "delete_variable_by_name"),
        ],
        reasons.KEPT,
    ),
    **dict.fromkeys(["create_artifact", "update_artifact"], reasons.ARTIFACTS),
    "read_latest_artifacts": reasons.COLLECTIONS,
    **dict.fromkeys(
        [
            "create_automation",
            "read_automations",
            "read_automation",
            "update_automation",
            "delete_automation",
        ],
        reasons.EVENTS,
    ),
    **dict.fromkeys(
        [
            *("create_concurrency_limit", "read_concurrency_limits", "read_concurrency_limit_by_tag"),
            *("delete_concurrency_limit_by_tag", "reset_concurrency_limit_by_tag"),
            *("create_global_concurrency_limit", "read_global_concurrency_limits"),
            *("read_global_concurrency_limit_by_name", "upsert_global_concurrency_limit_by_name"),
            *("increment_concurrency_slots", "release_concurrency_slots"),
        ],
        reasons.LIMITS,
    ),
    **dict.fromkeys(
        ["request", "raise_for_api_version_mismatch", "loop", "manage_lifespan"],
        "calls are gRPC here, not HTTP; the services are in protos/",
    ),
}
"""What to do instead, by name."""
