"""Results of runs that are rolled back: no later run is to find them instead of doing the work."""

from typing import TYPE_CHECKING, Any

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.results.plans import safe_key
from taskyard.cache_policies import StorageKeyPolicy
from taskyard.exceptions import ConfigurationError

if TYPE_CHECKING:
    from taskyard._network.session.session import Session


def forget_result(
    task: TaskDefinition[..., Any], future: Future[Any], cache_key: str | None, session: "Session"
) -> None:
    """Remove the result of a run from the cache, and from storage of the user's, where equal runs look.

    Runs that were told of it before keep it: they began while it was there.

    Raises:
        TaskyardError: The control plane, or the storage, does not answer.
    """
    if not task.has_cache_key:
        return
    client = session.client()
    key = cache_key or client.get_run(future.run_id).cache_key
    if not key:
        return
    from taskyard_api.v1.cache_service_pb2 import ClearCacheRequest  # only few programs need it

    entry = client.cache_entry(key)
    if entry is not None and entry.run_id == future.run_id:
        client.clear_cache(ClearCacheRequest(key=key))
    if task.results is not None and task.results.storage is not None:
        _withdraw(task, key)


def _withdraw(task: TaskDefinition[..., Any], key: str) -> None:
    results = task.results
    assert results is not None
    own = results.own_key(key)
    if task.settings.result_storage_key is None:
        results.withdraw(safe_key(own))
    elif isinstance(task.cache_policy, StorageKeyPolicy):
        results.withdraw(own)
    else:
        raise ConfigurationError(
            f"where the record of a run of '{task.name}' is, only its worker knew: the task has"
            " result_storage_key and a cache policy of its own; leave one of the two out"
        )
