"""The page of the documentation that says which tests hold which rule: ``python -m support.rules.page``."""

from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from support.rules.named_tests import NamedTest, named_tests
from support.rules.texts import texts

_BEGINNING: Final = """# Rules and their tests

What programs may rely on, and the tests that hold it. A test is named after its rule: `test_row_22_...` holds
row 22, `test_b13_4_...` part 4 of section B13. *Agents*, *threads*: where the runs of a test are executed, in
processes of a real agent or in threads of the program, both with a real control plane; tests without either
hold a part of the program by itself. Written by `make docs`, from the names of the tests and the sentences in
[texts.toml](../tests/support/rules/texts.toml).
"""
_NONE_YET: Final = "*none yet*"


def held_by_rule() -> dict[str, list[NamedTest]]:
    """Return the tests of each rule that has any, those with an installation first."""
    found: dict[str, set[NamedTest]] = defaultdict(set)
    also = texts().also.items()
    for test in named_tests():
        patterns = (rule for rule, names in also if any(fnmatchcase(test.name, name) for name in names))
        for rule in (*test.rules, *patterns):
            found[rule].add(test)
    return {
        rule: sorted(tests, key=lambda test: (-len(test.where), test.file, test.name))
        for rule, tests in found.items()
    }


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([_BEGINNING, *_sections()]).rstrip() + "\n"


def shown(rule: str) -> str:
    """Return how people write the id of a rule."""
    kind, _, number = rule.partition("_")
    return f"row {number}" if kind == "row" else f"{kind.upper()}.{number}".rstrip(".")


def _sections() -> Iterator[str]:
    held = held_by_rule()
    for title, rules in texts().sections.items():
        yield f"## {title}\n"
        yield "| rule | what holds | tests |\n|---|---|---|"
        for rule, text in rules.items():
            yield f"| {shown(rule)} | {text} | {_cell(held.get(rule, []))} |"
        yield ""


def _cell(tests: list[NamedTest]) -> str:
    """Return the tests, those of a file and a place together."""
    places: dict[tuple[str, str], list[str]] = {}
    for test in tests:
        names = places.setdefault((test.where, test.file), [])
        names.append(test.name)
    cells = []
    for (where, file), names in places.items():
        listed = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
        place = f"[{file.rpartition('/')[2]}](../tests/{file})"
        cells.append(f"{listed} in {place}" + (f" ({where})" if where else ""))
    return "<br>".join(cells) or _NONE_YET


if __name__ == "__main__":
    print(page(), end="")
