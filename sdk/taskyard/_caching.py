"""Cache keys of tasks: which policy makes them, and what happens when that fails.

Invariant: a key that cannot be computed never fails a run; the run is executed as if it were not cached.
"""

import logging
from typing import cast

from taskyard._options import TaskSettings
from taskyard.cache_policies import CacheKeyFnPolicy, CachePolicy, NoCache, StorageKeyPolicy
from taskyard.context import FlowRunContext, TaskRunContext
from taskyard.utilities.annotations import NotSet

logger = logging.getLogger("taskyard.tasks")


def policy_of(settings: TaskSettings) -> CachePolicy | None:
    """Return what computes the cache key, or None: key function, then policy, then storage key."""
    if settings.persist_result is False:
        return None
    given = settings.cache_policy
    policy = None if given is NotSet or given is None else cast(CachePolicy, given)
    if settings.cache_key_fn is not None:
        if policy is not None:
            logger.warning(
                "task '%s' has both cache_key_fn and cache_policy; cache_key_fn is used", settings.name
            )
        return CacheKeyFnPolicy(settings.cache_key_fn)
    if policy is None and settings.result_storage_key is not None:
        return StorageKeyPolicy(settings.result_storage_key)
    return None if isinstance(policy, NoCache) else policy


def key_of(name: str, policy: CachePolicy | None, context: TaskRunContext) -> str | None:
    """Return the cache key of a run of task `name`, or None for no caching."""
    if policy is None:
        return None
    flow_context = FlowRunContext.get()
    flow_parameters = flow_context.parameters if flow_context is not None else None
    try:
        key = policy.compute_key(context, context.parameters, flow_parameters)
        if key is not None:
            key.encode()  # it travels as UTF-8
        return key
    except Exception:  # user code
        logger.exception("no cache key could be computed for '%s', so it runs uncached", name)
        return None
