"""Events and the resources that they are about: plain values, checked when they are made."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, RootModel, model_validator

from taskyard._missing_features import absent_names
from taskyard_contract.id_factory import new_id

__all__ = ["Event", "ReceivedEvent", "RelatedResource", "Resource", "ResourceSpecification", "matches"]

_ID: Final = "taskyard.resource.id"
_NAME: Final = "taskyard.resource.name"
_ROLE: Final = "taskyard.resource.role"


class Resource(RootModel[dict[str, str]]):
    """Something that events are about, as labels with values; ``taskyard.resource.id`` is always one."""

    @model_validator(mode="after")
    def _needs_labels(self) -> Self:
        for label in self._needed():
            if not self.root.get(label):
                raise ValueError(f"the label '{label}' is missing, or empty, in {sorted(self.root)}")
        return self

    def _needed(self) -> Sequence[str]:
        return (_ID,)

    @property
    def id(self) -> str:
        """What tells it apart from all others."""
        return self.root[_ID]

    @property
    def name(self) -> str | None:
        """What people call it."""
        return self.root.get(_NAME)

    def __getitem__(self, label: str) -> str:
        """Return the value of a label."""
        return self.root[label]

    def __contains__(self, label: str) -> bool:
        """Say whether there is such a label."""
        return label in self.root

    def get(self, label: str, default: str | None = None) -> str | None:
        """Return the value of a label, or `default`."""
        return self.root.get(label, default)

    def items(self) -> list[tuple[str, str]]:
        """Return labels and values."""
        return list(self.root.items())


class RelatedResource(Resource):
    """Something else that has a part in an event, which ``taskyard.resource.role`` names."""

    def _needed(self) -> Sequence[str]:
        return (_ID, _ROLE)

    @property
    def role(self) -> str:
        """Its part."""
        return self.root[_ROLE]


class Event(BaseModel):
    """Something that has happened to a resource."""

    occurred: datetime = Field(default_factory=lambda: datetime.now(UTC))
    event: str
    resource: Resource
    related: list[RelatedResource] = Field(default_factory=list)
    payload: dict[str, Any] = Field(default_factory=dict)
    id: UUID = Field(default_factory=lambda: UUID(bytes=new_id()))
    follows: UUID | None = None

    @property
    def involved_resources(self) -> Sequence[Resource]:
        """All resources: the one that it happened to, and those that are related."""
        return [self.resource, *self.related]

    @property
    def resource_in_role(self) -> Mapping[str, RelatedResource]:
        """The first related resource of each role."""
        return {related.role: related for related in reversed(self.related)}

    @property
    def resources_in_role(self) -> Mapping[str, Sequence[RelatedResource]]:
        """The related resources of each role."""
        found: dict[str, list[RelatedResource]] = {}
        for related in self.related:
            found.setdefault(related.role, []).append(related)
        return found

    def find_resource_label(self, label: str) -> str | None:
        """Return the value of a label of the resource, or with ``related:ROLE:LABEL`` of a related one."""
        kind, _, rest = label.partition(":")
        role, _, inside = rest.partition(":")
        if kind != "related" or not inside:
            return self.resource.get(label)
        related = self.resource_in_role.get(role)
        return related.get(inside) if related is not None else None


class ReceivedEvent(Event):
    """An event, and when it arrived."""

    received: datetime


def matches(expected: str, value: str | None) -> bool:
    """Say whether a value is as expected: after ``!`` another one, before ``*`` one that begins so."""
    if value is None:
        return False
    negated = expected.startswith("!")
    wanted = expected.removeprefix("!")
    same = value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted
    return same != negated


class ResourceSpecification(RootModel[dict[str, str | list[str]]]):
    """Which resources are meant, as labels and the values that each may have; without labels all are."""

    def matches_every_resource(self) -> bool:
        """Say whether all are meant."""
        return not self.root

    def matches(self, resource: Resource) -> bool:
        """Say whether a resource is meant."""
        return all(
            any(matches(value, resource.get(label)) for value in values) for label, values in self.items()
        )

    def includes(self, candidates: Sequence[Resource]) -> bool:
        """Say whether one of some resources is meant."""
        return self.matches_every_resource() or any(self.matches(resource) for resource in candidates)

    def items(self) -> list[tuple[str, list[str]]]:
        """Return labels, each with all its values."""
        return [(label, [value] if isinstance(value, str) else value) for label, value in self.root.items()]

    def get(self, label: str) -> list[str]:
        """Return the values of a label."""
        return dict(self.items()).get(label, [])

    def __getitem__(self, label: str) -> list[str]:
        """Return the values of a label that is there."""
        return dict(self.items())[label]

    def __contains__(self, label: str) -> bool:
        """Say whether a label is restricted."""
        return label in self.root

    def __len__(self) -> int:
        """Count the labels."""
        return len(self.root)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
