"""Gives stored templates the one column that listings search by: the name.

Invariant: the definition is stored exactly as it came; the name is only a copy out of it.
"""

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError

from taskyard_api.v1.template_pb2 import RunTemplate

COLUMNS: Final = ("template_id", "digest", "definition", "name")


def with_names(templates: Iterable[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes, str]]:
    """Append the name to each `TemplateRow`."""
    return [(number, digest, data, _name(data)) for number, digest, data in templates]


def _name(definition: bytes) -> str:
    try:
        return str(RunTemplate.FromString(definition).name)
    except DecodeError:
        # Written by a release with another idea of templates: its runs are listed, but not found by name.
        return ""
