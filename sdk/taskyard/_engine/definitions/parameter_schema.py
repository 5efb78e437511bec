"""The parameters of a function as a JSON schema: for forms, and for people."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from inspect import Parameter
from types import GenericAlias
from typing import Any, Final

from taskyard._engine.definitions.parameter_types import declared_types
from taskyard._engine.definitions.signatures import CallSignature

_DEFINITIONS: Final = "#/definitions/{model}"


@dataclass(frozen=True)
class ParameterSchema:
    """What calls of a function take. `properties` has a JSON schema for each parameter, by name."""

    title: str = "Parameters"
    type: str = "object"
    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    definitions: dict[str, Any] = field(default_factory=dict)

    def model_dump_for_openapi(self) -> dict[str, Any]:
        """Return the schema as a dictionary; `required` only where something is."""
        made = asdict(self)
        if not self.required:
            del made["required"]
        return made


def parameter_schema(fn: Callable[..., Any], signature: CallSignature, bound: int = 0) -> ParameterSchema:
    """Describe the parameters of a function.

    Args:
        fn: The function.
        signature: Its signature.
        bound: How many of the first ones are given already: the instance of a method.

    Returns:
        The schema. A type without one, and a parameter without a type, take anything.
    """
    declared = declared_types(fn, signature)
    schema = ParameterSchema()
    for position, (name, parameter) in enumerate(list(signature.signature.parameters.items())[bound:]):
        described = {} if name not in declared else _described(declared[name], schema.definitions)
        own: dict[str, Any] = {"title": name, "position": position, **_default_of(parameter)}
        if "$ref" in described:
            described = {"allOf": [described]}
        schema.properties[name] = {**described, **own}
        if parameter.default is Parameter.empty and parameter.kind not in (
            Parameter.VAR_POSITIONAL,
            Parameter.VAR_KEYWORD,
        ):
            schema.required.append(name)
    return schema


def _described(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(arbitrary_types_allowed=True)
    try:
        # Inside of something: a model by itself would be no reference, and takes no configuration.
        held: Any = GenericAlias(tuple, (kind,))
        made = TypeAdapter(held, config=config).json_schema(ref_template=_DEFINITIONS)
        described: dict[str, Any] = made["prefixItems"][0]
    except Exception:  # annotations are foreign code, and not every type has a schema
        return {}
    definitions.update(made.get("$defs", {}))
    return described


def _default_of(parameter: Parameter) -> dict[str, Any]:
    if parameter.default is Parameter.empty:
        return {}
    from pydantic_core import to_jsonable_python

    try:
        return {"default": to_jsonable_python(parameter.default)}
    except Exception:  # a value of a foreign class
        return {}
