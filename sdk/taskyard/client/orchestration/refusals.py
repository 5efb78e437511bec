"""What calls take in Prefect and nothing here can honour."""

from taskyard.exceptions import NotSupported

_WHY = {
    "deployment_filter": "there are no deployments in this release",
    "work_pool_filter": "there are no work pools, by design: agents take runs from queues",
    "work_queue_filter": "there are no work queues of pools, by design: agents take runs from queues",
    "flow_run_filter": "artifacts say themselves which runs made them: ArtifactFilter has flow_run_id",
    "task_run_filter": "artifacts say themselves which runs made them: ArtifactFilter has task_run_id",
    "httpx_settings": "calls are gRPC, not HTTP",
}


def refuse(**given: object) -> None:
    """Refuse arguments that nothing can honour, unless they say nothing.

    Raises:
        NotSupported: One says something.
    """
    for name, value in given.items():
        if value is not None:
            raise NotSupported(f"{name} cannot be used: {_WHY[name]}")
