"""Types of blocks: what they are called, which class is which, and what is registered of one."""

import re
from importlib import import_module
from inspect import cleandoc
from typing import Any, Final, get_args

BlockClass = type[Any]
"""A class made of `Block`, which stands on this module."""

_HOMES: Final = {
    **dict.fromkeys(("secret", "json", "string", "date-time"), "taskyard.blocks.system"),
    **dict.fromkeys(("local-file-system", "remote-file-system"), "taskyard.filesystems"),
}
"""Where types are that come with Taskyard: nobody has to import these to load a block of them."""

_classes: Final[dict[str, BlockClass]] = {}


class InvalidBlockRegistration(Exception):
    """`Block` itself, or an interface of blocks, was to be registered: only what is made of it is a type."""


class UnknownBlockType(Exception):
    """No class of this process is the type of a block; import the module that has it."""


def slug_of(name: str) -> str:
    """Return a name as it is in references: lowercase letters and digits, with dashes between."""
    return re.sub("[^a-z0-9]+", "-", name.lower().replace("'", "")).strip("-")


def note_class(block_class: BlockClass) -> None:
    """Remember which class a type has; of two with one name the latter, as in a notebook."""
    if not block_class.__pydantic_generic_metadata__["origin"]:
        _classes[block_class.get_block_type_slug()] = block_class


def class_of(slug: str) -> BlockClass:
    """Return the class of a type.

    Raises:
        UnknownBlockType: This process has none.
    """
    if slug in _HOMES:
        import_module(_HOMES[slug])  # its class notes itself
    try:
        return _classes[slug]
    except KeyError:
        raise UnknownBlockType(
            f"No block class found for slug {slug!r}. Please ensure that the block class is available in the"
            " current environment: import the module that has it."
        ) from None


def check_registrable(block_class: BlockClass, what: str) -> None:
    """Check that a class is a type of blocks.

    Raises:
        InvalidBlockRegistration: It is `Block`, or an interface.
    """
    from abc import ABC

    if block_class.__name__ == "Block" or ABC in block_class.__bases__:
        raise InvalidBlockRegistration(
            f"`{what}` should be called on a Block subclass and not on {block_class.__name__} directly,"
            " which is an interface."
        )


def said_of(block_class: BlockClass) -> dict[str, Any]:
    """Return what is registered of a type."""
    description = block_class._description or (block_class.__dict__.get("__doc__") or "")
    return {
        "name": block_class.get_block_type_name(),
        "slug": block_class.get_block_type_slug(),
        "description": cleandoc(description).partition("\n\n")[0],
        "logo_url": _text(block_class._logo_url),
        "documentation_url": _text(block_class._documentation_url),
        "code_example": block_class._code_example,
        "version": block_class._block_schema_version,
        "capabilities": sorted(block_class._block_schema_capabilities or ()),
        "schema": _schema(block_class),
    }


def blocks_in(annotation: Any, block_class: BlockClass) -> list[BlockClass]:
    """Return the types of blocks that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, block_class):
        return [annotation]
    return [found for inner in get_args(annotation) for found in blocks_in(inner, block_class)]


def _schema(block_class: BlockClass) -> dict[str, Any] | None:
    from pydantic.errors import PydanticInvalidForJsonSchema
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        """Leaves out defaults that JSON has nothing for without a word."""

        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # pydantic's

        def default_schema(self, schema: Any) -> dict[str, Any]:
            """Leave out defaults that may be secret: what is registered of a type is not."""
            made = super().default_schema(schema)
            if "writeOnly" in str(made) or "$ref" in str(made):
                made.pop("default", None)
            return made

    try:
        schema: dict[str, Any] = block_class.model_json_schema(schema_generator=Quiet)
    except PydanticInvalidForJsonSchema:  # a field of a type that JSON has nothing for
        return None
    return schema


def _text(value: object) -> str | None:
    return None if value is None else str(value)
