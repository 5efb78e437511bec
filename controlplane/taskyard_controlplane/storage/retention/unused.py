"""Removes templates and names of agents that nothing names."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection, and_, delete, func, select

from taskyard_controlplane.storage.interface.unused import Named
from taskyard_controlplane.storage.retention.references import TEMPLATE, drop_refs
from taskyard_controlplane.storage.schema import agent, blob_ref, cache_entry, run, template


class OwnedUnusedRows:
    """`UnusedRows`, in transactions that have checked that this is still the owner."""

    def __init__(self, owning: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Write in the transactions of `owning`."""
        self._owning = owning

    def named_by_runs(self, after_seq: int, limit: int) -> Named:
        query = select(run.c.template_id, run.c.agent_number, run.c.seq).where(run.c.seq > after_seq)
        with self._owning() as connection:
            rows = connection.execute(query.order_by(run.c.seq).limit(limit)).all()
        templates = {template_id for template_id, _, _ in rows}
        agents = {number for _, number, _ in rows if number is not None}
        return Named(templates, agents, rows[-1][2] if len(rows) == limit else None)

    def named_by_entries(self, after_key: str, limit: int) -> Named:
        query = select(cache_entry.c.template_id, cache_entry.c.cache_key)
        query = query.where(cache_entry.c.cache_key > after_key).order_by(cache_entry.c.cache_key)
        with self._owning() as connection:
            rows = connection.execute(query.limit(limit)).all()
        templates = {template_id for template_id, _ in rows if template_id is not None}
        return Named(templates, set(), rows[-1][1] if len(rows) == limit else None)

    def templates(self, after_id: int, limit: int) -> list[int]:
        number = template.c.template_id
        newest = select(func.max(number)).scalar_subquery()
        query = select(number).where(number > after_id, number < newest).order_by(number).limit(limit)
        with self._owning() as connection:
            return list(connection.execute(query).scalars())

    def agents(self, after_number: int, limit: int) -> list[tuple[int, int]]:
        number = agent.c.number
        newest = select(func.max(number)).scalar_subquery()
        query = select(number, agent.c.at_us).where(number > after_number, number < newest)
        with self._owning() as connection:
            return [
                (found, at_us) for found, at_us in connection.execute(query.order_by(number).limit(limit))
            ]

    def remove_templates(self, template_ids: Sequence[int]) -> int:
        number = template.c.template_id
        with self._owning() as connection:
            newest = connection.execute(select(func.max(number))).scalar()
            these = [template_id for template_id in template_ids if template_id != newest]
            drop_refs(connection, and_(blob_ref.c.kind == TEMPLATE, blob_ref.c.holder.in_(these)))
            return connection.execute(delete(template).where(number.in_(these))).rowcount

    def remove_agents(self, numbers: Sequence[int]) -> int:
        number = agent.c.number
        with self._owning() as connection:
            newest = connection.execute(select(func.max(number))).scalar()
            these = [each for each in numbers if each != newest]
            return connection.execute(delete(agent).where(number.in_(these))).rowcount
