"""The tests that are named after rules, and where each of them executes its runs: read from their source.

Nothing is imported. A test whose parameters, or those of a fixture it uses, name both agents and threads, is
held with both; others of the folders with whole installations are held with what they have, agents in most.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[2]
_RULES: Final = re.compile(r"test_((?:(?:and_)?(?:rows?_\d+|b\d+(?:_\d+)?|(?<=and_)\d+)_)+)")
_ONE: Final = re.compile(r"(?:rows?|(?<![a-z])and)_(\d+)|(b\d+(?:_\d+)?)")
_NAMED: Final = re.compile(r"def test_(rows?_\d|b\d)")
_THREADS: Final = re.compile(r"threads|ThreadPoolTaskRunner")
_AGENTS: Final = re.compile(r"agents|AgentTaskRunner|None|\{\}")
_INSTALLATIONS: Final = ("integration/sdk", "acceptance", "chaos")

Fixtures = Mapping[str, ast.FunctionDef]


@dataclass(frozen=True, order=True)
class NamedTest:
    """A test.

    Attributes:
        file: Where it is, seen from the folder of the tests.
        name: Of its function.
        where: "agents", "threads", both with "and" between them, or "" for one without an installation.
    """

    file: str
    name: str
    where: str

    @property
    def rules(self) -> frozenset[str]:
        """Return the ids of the rules that are in its name."""
        found = _RULES.match(self.name)
        if found is None:
            return frozenset()
        return frozenset(f"row_{row}" if row else section for row, section in _ONE.findall(found[1]))


@cache
def named_tests() -> tuple[NamedTest, ...]:
    """Return all tests of files in which some are named after rules, sorted by file, in their order there."""
    return tuple(test for path in sorted(TESTS.rglob("test_*.py")) for test in _tests_of(path))


def _tests_of(path: Path) -> Iterator[NamedTest]:
    file = path.relative_to(TESTS).as_posix()
    whole = any(file.startswith(folder) for folder in _INSTALLATIONS)
    text = path.read_text()
    if not _NAMED.search(text):
        return
    module = ast.parse(text)
    fixtures = {**_shared_fixtures(path.parent), **_fixtures_of(module)}
    marks = _marks_of(module)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield NamedTest(file, node.name, _where(node, fixtures, marks) if whole else "")


def _marks_of(module: ast.Module) -> dict[str, str]:
    """Return what the names at the top stand for: marks with parameters have names in many files."""
    return {
        target.id: ast.unparse(node.value)
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _where(node: ast.FunctionDef | ast.AsyncFunctionDef, fixtures: Fixtures, marks: Mapping[str, str]) -> str:
    parameters = [_named(ast.unparse(each), marks) for each in node.decorator_list]
    parameters += [_named(text, marks) for text in _params(node, fixtures)]
    parameters.append(marks.get("pytestmark", ""))
    for text in parameters:
        if _THREADS.search(text):
            return "agents and threads" if _AGENTS.search(text) else "threads"
    return "agents"


def _named(text: str, marks: Mapping[str, str]) -> str:
    """Return the text, and what the names in it stand for, and those in that."""
    for _ in range(2):
        text += "".join(f" {marks[name]}" for name in set(re.findall(r"\w+", text)) & marks.keys())
    return text


def _params(node: ast.FunctionDef | ast.AsyncFunctionDef, fixtures: Fixtures) -> Iterator[str]:
    """Return the decorators of the fixtures that a test uses, and of those that these use."""
    waiting = [argument.arg for argument in node.args.args]
    waiting += [name for each in node.decorator_list for name in re.findall(r"'(\w+)'", ast.unparse(each))]
    waiting += [name for name, fixture in fixtures.items() if "autouse=True" in _decorators(fixture)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in fixtures:
            continue
        seen.add(name)
        yield _decorators(fixtures[name])
        waiting += [argument.arg for argument in fixtures[name].args.args]


def _decorators(node: ast.FunctionDef) -> str:
    return " ".join(ast.unparse(each) for each in node.decorator_list)


def _fixtures_of(module: ast.Module) -> dict[str, ast.FunctionDef]:
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef))
    return {node.name: node for node in functions if "fixture" in _decorators(node)}


@cache
def _shared_fixtures(folder: Path) -> dict[str, ast.FunctionDef]:
    above = {} if folder == TESTS else _shared_fixtures(folder.parent)
    shared = folder / "conftest.py"
    return {**above, **(_fixtures_of(ast.parse(shared.read_text())) if shared.exists() else {})}
