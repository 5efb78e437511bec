"""A tree of runs, for people and as a document."""

from collections.abc import Iterator
from typing import Any, Final

from taskyard.cli.tree import Node
from taskyard.cli.views.documents import name_in, run_document, state_of
from taskyard.cli.views.output import console, duration
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunKind, RunState

WORDS: Final[dict[int, tuple[str, str]]] = {
    RunState.COMPLETED: ("completed", "green"),
    RunState.FAILED: ("failed", "red"),
    RunState.CRASHED: ("crashed", "magenta"),
    RunState.CANCELLED: ("cancelled", "yellow"),
    RunState.NOT_READY: ("not ready", "red"),
    RunState.RUNNING: ("running", "cyan"),
    RunState.CANCELLING: ("cancelling", "yellow"),
    RunState.PENDING: ("waiting", ""),
}
"""States in the order in which they are told, and their colours. What is not here waits."""

Text = list[tuple[str, str]]
"""Pieces of a line, and their colours."""


def print_tree(root: Node) -> None:
    """Print a tree, a line for each node."""
    from rich.text import Text as RichText

    out = console()
    for indent, text in _lines(root, "", ""):
        line = RichText(indent)
        for piece, colour in text:
            line.append(piece, colour)
        out.print(line)


def _lines(node: Node, first: str, further: str) -> Iterator[tuple[str, Text]]:
    yield first, _text(node)
    for child in node.inside:
        last = child is node.inside[-1]
        yield from _lines(child, further + ("└─ " if last else "├─ "), further + ("   " if last else "│  "))


def _text(node: Node) -> Text:
    text = _run_text(node) if node.run is not None else _sums_text(node)
    return [*text, (f" ({node.left_out})", "")] if node.left_out else text


def _run_text(node: Node) -> Text:
    run = node.run
    assert run is not None
    kind = name_in(RunKind, run.kind).lower()
    colour = WORDS.get(int(run.state), ("", ""))[1]
    took = duration(run.started_us, run.ended_us)
    text = [(f"{run.name}", "bold"), (f" ({kind} {run.task_name}, {format_id(run.run_id)}): ", "")]
    return [*text, (state_of(run)[1], colour), (f", {took}" if took else "", "")]


def _sums_text(node: Node) -> Text:
    sums = node.sums
    assert sums is not None
    many = f" x {sums.runs:,}" if sums.runs > 1 else ""
    kind = "flow " if sums.kind == RunKind.FLOW else ""
    text: Text = [(f"{kind}{sums.name}{many}: ", "")]
    for position, (word, count, colour) in enumerate(_states(node)):
        number = f"{count:,} " if many else ""
        text += [(", " if position else "", ""), (f"{number}{word}", colour)]
    median = sums.median_us()
    if median is not None:
        took = duration(1, 1 + median) if median >= 1_000 else "under 1 ms"
        text.append((f", {'median ' if many else ''}{took}", ""))
    if many and not sums.open and (whole := duration(sums.started_us, sums.ended_us)):
        text.append((f", all in {whole}", ""))
    return text


def _states(node: Node) -> list[tuple[str, int, str]]:
    sums = node.sums
    assert sums is not None
    known = [(word, sums.states[state], colour) for state, (word, colour) in WORDS.items()]
    other = sums.runs - sum(count for _, count, _ in known)
    found = [*known[:-1], (known[-1][0], known[-1][1] + other, "")]
    return [one for one in found if one[1]]


def node_document(node: Node) -> dict[str, Any]:
    """Return a node with all that is inside."""
    inside = [node_document(child) for child in node.inside]
    if node.run is not None:
        return {**run_document(node.run), "inside": inside}
    sums = node.sums
    assert sums is not None
    median = sums.median_us()
    return {
        "kind": name_in(RunKind, sums.kind).lower(),
        "task_name": sums.name,
        "runs": sums.runs,
        "states": {name_in(RunState, state).lower(): count for state, count in sorted(sums.states.items())},
        "median_seconds": None if median is None else median / 1_000_000,
        "inside": inside,
    }
