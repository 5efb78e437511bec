"""What the documentation says is compared with what the programs are."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from taskyard import settings
from taskyard.cli.app import app
from taskyard.cli.exits import ExitCode
from taskyard_controlplane.cli import ExitCode as ServerExitCode
from taskyard_controlplane.domain.diagrams import page

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for folder in (".", "docs", "docs/adr", "benchmarks", "protos")
    for path in (ROOT / folder).glob("*.md")
)
CLI = (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def anchors(document: Path) -> set[str]:
    """Return what the headings of a page are called in links, as GitHub makes it of them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [heading.lower() for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_parts_of_pages_lead_there(document: Path):
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", document.read_text())
    local = [(page, part) for page, part in links if "://" not in page]
    pages = [(document.parent / page if page else document, part) for page, part in local]
    assert [part for page, part in pages if page.suffix == ".md" and part not in anchors(page)] == []


def test_every_variable_is_documented():
    table = settings.__doc__ or ""
    variables = set(re.findall(r"^\| `(TASKYARD_\w+)`", table, re.MULTILINE))
    documented = set(re.findall(r"^\| `(TASKYARD_\w+)`", CLI, re.MULTILINE))
    assert "TASKYARD_OUTPUT" in variables
    assert variables <= documented


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
TREES = (
    "sdk/taskyard",
    "agent/taskyard_agent",
    "controlplane/taskyard_controlplane",
    "protos/python",
    "protos/python/taskyard_contract",
)


@pytest.mark.parametrize("page", ["architecture.md", "where-does-it-go.md"])
def test_files_that_are_named_exist(page: str):
    text = (ROOT / "docs" / page).read_text()
    named = set(re.findall(r"`((?:\w+/)+[\w.]*)`", text))
    assert len(named) > 5
    inside = [ROOT / tree for tree in TREES]
    places = [ROOT, *inside, *(place / room for place in inside for room in ("owner", "storage"))]
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


def layers_of(container: str) -> list[list[str]]:
    """Return the rooms of a package from the top, as the contracts have them, side by side in one list."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (one["layers"] for one in contracts if one.get("containers") == [container])
    return [re.findall(r"(?<![\w.])\w+", re.sub(r"\(.*?\)", "", layer)) for layer in found]


@pytest.mark.parametrize(
    "container",
    [
        "taskyard",
        "taskyard._engine",
        "taskyard._network",
        "taskyard_controlplane",
        "taskyard_controlplane.owner",
        "taskyard_agent",
    ],
)
def test_the_picture_shows_the_layers_that_are_checked(container: str):
    """Every room is in the picture, and further down than all that are above it."""
    picture = ARCHITECTURE.split("## The layers", 1)[1].split("```")[1]
    layers = layers_of(container)
    places = {
        name: [word.start() for word in re.finditer(rf"(?<!\w){name}(?!\w)", picture)]
        for layer in layers
        for name in layer
    }
    assert [name for name, found in places.items() if not found] == []
    shown = [[place for name in layer for place in places[name]] for layer in layers]
    for above, below in pairwise(shown):
        assert min(above) < max(below)


def test_the_diagrams_are_up_to_date():
    assert (ROOT / "docs" / "states.md").read_text() == page()


def commands(group: Any, path: str = "taskyard") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def section(command: str) -> str:
    """Return what docs/cli.md says about a command."""
    found = re.search(rf"^### `{command}\b.*?(?=^##|\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section about '{command}'"
    return found.group()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented_and_no_other(command: str):
    options = {
        name
        for parameter in COMMANDS[command].params
        if parameter.param_type_name == "option" and parameter.name != "help"
        for name in parameter.opts
        if name.startswith("--")
    }
    assert set(re.findall(r"(?<=`)--[a-z-]+", section(command))) == options


def test_the_documentation_names_no_other_commands():
    assert set(re.findall(r"^### `(taskyard [a-z ]*[a-z])", CLI, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize(
    ("codes", "heading"), [(ExitCode, "## Exit codes"), (ServerExitCode, "### Exit codes of a server")]
)
def test_exit_codes_are_documented(codes: Any, heading: str):
    table = CLI.split(heading, 1)[1].split("\n#", 1)[0]
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert documented - {130} == {int(code) for code in codes}
