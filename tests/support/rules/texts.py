"""The rules in words, from the file beside this one."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("texts.toml")


@dataclass(frozen=True)
class Texts:
    """What the file says.

    Attributes:
        sections: The rules by the titles of their sections, each a sentence by its id ("row_22", "b13_4").
        also: Patterns of names of tests that hold a rule though they are not named after it, by its id.
        awaited: Ids of rules that have no test yet.
        one_place: Why the tests of a rule are not run in agents and in threads, by its id.
    """

    sections: Mapping[str, Mapping[str, str]]
    also: Mapping[str, list[str]]
    awaited: frozenset[str]
    one_place: Mapping[str, str]

    @property
    def rules(self) -> dict[str, str]:
        """Return all rules, each a sentence by its id."""
        return {rule: text for rules in self.sections.values() for rule, text in rules.items()}


def texts() -> Texts:
    """Read the file."""
    read: dict[str, Any] = tomllib.loads(FILE.read_text())
    sections = {section["title"]: section["rules"] for section in read["sections"]}
    return Texts(sections, read["also"], frozenset(read["awaited"]), read["one_place"])
