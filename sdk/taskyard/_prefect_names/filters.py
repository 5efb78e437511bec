"""Fields of filters that Prefect has, and classes for them."""

from typing import Final

from taskyard._prefect_names import reasons

_VERSIONS: Final = "runs cannot be found by it; each flow run has its flow_version"
_POOLS: Final = "there are no work pools, by design: agents take runs from queues"
_KEYS: Final = "idempotency keys are not in this release; run ids are what makes a submission happen once"
_TEXTS: Final = "the texts of logs are not searched here; read them and search"

FIELDS: Final[dict[str, dict[str, str]]] = {
    "FlowRunFilter": {
        "deployment_id": reasons.DEPLOY,
        "work_queue_name": _POOLS,
        "flow_version": _VERSIONS,
        "idempotency_key": _KEYS,
    },
    "FlowFilter": {
        "deployment": reasons.DEPLOY,
        "tags": "flows have no tags here; their runs have",
    },
    "LogFilter": {"text": _TEXTS},
}
"""What to do instead, by filter and field."""
CLASSES: Final[dict[str, str]] = {
    "FlowRunFilterDeploymentId": reasons.DEPLOY,
    "FlowRunFilterWorkQueueName": _POOLS,
    "FlowRunFilterFlowVersion": _VERSIONS,
    "FlowRunFilterIdempotencyKey": _KEYS,
    "FlowFilterDeployment": reasons.DEPLOY,
    "FlowFilterTags": FIELDS["FlowFilter"]["tags"],
    "LogFilterText": _TEXTS,
    **dict.fromkeys(["DeploymentFilter", "DeploymentFilterId", "DeploymentFilterName"], reasons.DEPLOY),
    **dict.fromkeys(["WorkPoolFilter", "WorkQueueFilter", "WorkPoolFilterName", "WorkerFilter"], _POOLS),
    "ArtifactCollectionFilter": reasons.COLLECTIONS,
    **dict.fromkeys(
        ["BlockDocumentFilter", "BlockTypeFilter", "BlockSchemaFilter", "VariableFilter"], reasons.KEPT
    ),
}
"""The same of classes in `client.schemas.filters`."""
