"""State diagrams, drawn from the transition tables.

``python -m taskyard_controlplane.domain.diagrams`` prints the Markdown page that the documentation holds; a
test compares the two, so the pictures cannot drift from the law.
"""

from typing import Final

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain import flow_machine, task_machine
from taskyard_controlplane.domain.cells import Cell, Choice, Go, Table
from taskyard_controlplane.domain.events import RunEvent

_HEAD: Final = """# States of runs

Generated from the transition tables in `controlplane/taskyard_controlplane/domain/` by
`python -m taskyard_controlplane.domain.diagrams`. An arrow names the event, and in brackets the guard that
chose it. Events that a state ignores or rejects are left out; final states ignore everything,
but that a session may resume a flow run.
"""


def _arrows(cell: Cell, guards: tuple[str, ...] = ()) -> list[tuple[RunState, str]]:
    if isinstance(cell, Choice):
        name = cell.guard.__name__
        return _arrows(cell.yes, (*guards, name)) + _arrows(cell.no, (*guards, f"not {name}"))
    if isinstance(cell, Go):
        return [(cell.state, ", ".join(guards))]
    return []


def mermaid(table: Table) -> str:
    """Return the Mermaid text of a table's diagram."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, row in table.items():
        grouped: dict[tuple[RunState, str], list[str]] = {}
        for event in RunEvent:
            for target, guards in _arrows(row[event]):
                grouped.setdefault((target, guards), []).append(event.name)
        for (target, guards), events in grouped.items():
            suffix = f" [{guards}]" if guards else ""
            lines.append(f"    {state.name} --> {target.name}: {' | '.join(events)}{suffix}")
    used = {line.split()[2].rstrip(":") for line in lines if "-->" in line}
    for state in RunState:
        if state >= FIRST_FINAL and state.name in used:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines)


def page() -> str:
    """Return the whole Markdown page."""
    parts = [_HEAD]
    for title, table in (("Task runs", task_machine.TABLE), ("Flow runs", flow_machine.TABLE)):
        parts.append(f"## {title}\n\n```mermaid\n{mermaid(table)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
