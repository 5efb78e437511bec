"""How a task that is served by name is announced: what people, and generators of clients, want to know."""

import inspect
import json
from typing import Any, Final

from taskyard._engine.definitions.parameter_types import declared_types, return_type
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.encodings import JSON, PICKLE
from taskyard_contract.wire_text import cut

MOST_SCHEMA_BYTES: Final = 16 * 1024
"""What may be announced; of larger ones nothing is, because half a schema is none."""


def offer_of(task: TaskDefinition[..., Any]) -> pb.TaskOffer:
    """Return how a task is announced."""
    return pb.TaskOffer(
        name=task.name,
        version=task.version or "",
        encodings=[JSON, PICKLE],
        parameter_schema=_text(_parameter_schema(task)),
        result_schema=_text(_result_schema(task)),
        description=cut(" ".join((task.description or "").split())),
    )


def _parameter_schema(task: TaskDefinition[..., Any]) -> dict[str, Any] | None:
    from pydantic import ConfigDict, Field, create_model

    parameters = list(task.signature.signature.parameters.values())[len(task.prefix) :]
    types = declared_types(task.fn, task.signature)
    fields: dict[str, Any] = {}
    for position, parameter in enumerate(parameters):
        many = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        needed = parameter.default is inspect.Parameter.empty and not many
        # Defaults may be anything; that there is one is all that can be said of them.
        default: Any = {} if needed else {"default_factory": lambda: None}
        declared = types.get(parameter.name, Any)
        fields[f"field_{position}"] = (declared, Field(alias=parameter.name, title=parameter.name, **default))
    config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=(), title=task.name)
    try:
        model: Any = create_model("Parameters", __config__=config, **fields)
        return dict(model.model_json_schema(by_alias=True))
    except Exception:  # types of the user's: some have no schema, or none that can be made
        return None


def _result_schema(task: TaskDefinition[..., Any]) -> dict[str, Any] | None:
    from pydantic import TypeAdapter

    declared = return_type(task.fn)
    if declared is None:
        return None
    try:
        return TypeAdapter(declared).json_schema(mode="serialization")
    except Exception:  # as above
        return None


def _text(schema: dict[str, Any] | None) -> str:
    text = json.dumps(schema, separators=(",", ":")) if schema else ""
    return text if len(text) <= MOST_SCHEMA_BYTES else ""
