"""The page of the documentation that lists all names: ``python -m taskyard._prefect_names.page``."""

from collections.abc import Iterator, Mapping
from typing import Final

from taskyard._prefect_names.attributes import ATTRIBUTES
from taskyard._prefect_names.filters import FIELDS
from taskyard._prefect_names.members import MEMBERS, PATTERNS
from taskyard._prefect_names.modules import COLLECTIONS, MODULES, NAMES
from taskyard._prefect_names.options import ABSENT, CALLS, FORMER

_BEGINNING: Final = """# Names of Prefect

Names of Prefect 1, 2 and 3 that are not here under the same name, and what to do about each: what the error
says when a program uses one. Everything else has the name that it has in Prefect 3, with `taskyard` for
`prefect`. [Coming from Prefect](coming-from-prefect.md) says how the parts fit together. Written by
`make docs`, from `sdk/taskyard/_prefect_names`.
"""


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([_BEGINNING, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield from _table("Modules", {f"taskyard.{name}": why for name, why in MODULES.items()})
    yield from _table("Packages", COLLECTIONS)
    yield from _table("Imported from `taskyard`", NAMES)
    for module, names in MEMBERS.items():
        start, why = PATTERNS.get(module, ("", ""))
        more = {f"{start}...": why} if start else {}
        yield from _table(f"Imported from `taskyard.{module}`", {**names, **more})
    for kind, names in ATTRIBUTES.items():
        yield from _table(f"Attributes of a {kind}", names)
    for kind, names in FIELDS.items():
        yield from _table(f"Fields of a {kind}", names)
    for kind, names in FORMER.items():
        yield from _table(f"Options of a {kind}", {**(ABSENT if kind == "task" else {}), **names})
    yield from _table("Arguments of calls", CALLS)


def _table(title: str, names: Mapping[str, str]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| name | instead |\n|---|---|"
    for why in dict.fromkeys(names.values()):
        alike = ", ".join(f"`{name}`" for name in names if names[name] == why)
        yield f"| {alike} | {why} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
