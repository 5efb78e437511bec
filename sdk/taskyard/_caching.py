"""Cache keys of runs, and what happens when one cannot be made.

Invariant: a key that cannot be computed never fails a run; the run is executed as if it were not cached.
"""

import logging

from taskyard.cache_policies import CachePolicy
from taskyard.context import FlowRunContext, TaskRunContext

logger = logging.getLogger("taskyard.tasks")


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
