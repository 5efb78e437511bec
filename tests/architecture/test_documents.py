"""What the documentation says is compared with what the programs are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

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
