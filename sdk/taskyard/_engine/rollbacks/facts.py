"""What agents need to know of transactions, to call their hooks: plain values, and what is the user's."""

from typing import Any

from taskyard._engine.results.store import ResultStore
from taskyard._engine.submission.large_values import Arguments, LargeValues
from taskyard._engine.transactions.base import BaseTransaction
from taskyard._engine.transactions.kept import KeptTransaction
from taskyard._engine.transactions.task_runs import RunTransaction


def all_around(part: BaseTransaction) -> list[BaseTransaction]:
    """Return the transactions around one, from the inside."""
    found = []
    parent = part.get_parent()
    while parent is not None:
        found.append(parent)
        parent = parent.get_parent()
    return found


def facts_of(part: KeptTransaction) -> dict[str, Any]:
    """Return what an agent needs to know of a transaction: plain values, and what is the user's."""
    facts: dict[str, Any] = {"run_id": b"", "name": "", "task": None, "cache_key": None}
    if isinstance(part, RunTransaction):
        facts |= {
            "run_id": part.future.run_id,
            "name": part.task.name,
            "task": part.task if part.task.has_cache_key else None,
            "cache_key": part.cache_key,
        }
    facts["chain"] = [_level_of(each) for each in (part, *all_around(part))]
    return facts


def with_shared(
    facts: dict[str, Any], large: LargeValues, seen: set[int]
) -> tuple[dict[str, Any], Arguments]:
    """Return facts whose large values are stored once for all hooks, and those that are stored.

    Args:
        facts: What an agent needs to know of a transaction.
        large: Stores values.
        seen: The ids of values that were looked at; whoever calls keeps these values.

    Raises:
        NotPicklable, PayloadTooLarge: A value cannot travel.
    """
    levels: list[dict[str, Any]] = []
    stored: list[Any] = []
    for level in facts["chain"]:
        large.share(value for value in level["values"].values() if id(value) not in seen)
        seen.update(map(id, level["values"].values()))
        _, values = large.with_shared(((), level["values"]))
        stored += values.values()
        levels.append({**level, "values": values})
    return {**facts, "chain": levels}, (tuple(stored), {})


def _level_of(part: BaseTransaction) -> dict[str, Any]:
    store = part.store if part.key and isinstance(part.store, ResultStore) else None
    return {
        "key": part.key,
        "values": part.own_values(),
        "commit_id": part.commit_id,
        "state": str(part.state),
        # Not the store itself: it has locks, and names rooms of this release.
        "store": None
        if store is None
        else {"result_storage": store.given_storage, "serializer": store.serializer},
        "written": part.write_on_commit,
    }
