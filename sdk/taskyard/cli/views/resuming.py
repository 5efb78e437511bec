"""What resuming a flow run would do, as a table: a line for each call and reason."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import NAMES, print_table

if TYPE_CHECKING:
    from taskyard._data.runs.resume_plan import ResumePlan


def plan_document(plan: "ResumePlan") -> dict[str, object]:
    """Return a plan for programs."""
    return {
        "reused": plan.reused,
        "executed": plan.executed,
        "calls": [
            {
                "name": call.name,
                "runs": [
                    {"number": runs.number, "verdict": verdict_of(runs.reused), "why": runs.why}
                    for runs in call.runs
                ],
            }
            for call in plan.calls
        ],
        "ends": plan.ends,
    }


def print_plan(plan: "ResumePlan") -> None:
    """Print a plan."""
    rows = [(name, f"{number:,}", verdict_of(reused), why) for name, number, reused, why in _merged(plan)]
    if rows:
        print_table((NAMES, Column("RUNS"), Column("VERDICT"), Column("WHY", least=16)), rows)
    else:
        print("the body calls nothing")
    if plan.ends:
        print(f"the plan ends here: {plan.ends}")
    print(f"reuse {plan.reused:,}, rerun {'at least ' if plan.ends else ''}{plan.executed:,}")


def verdict_of(reused: bool) -> str:
    """Return the word for what becomes of a run."""
    return "reuse" if reused else "rerun"


def _merged(plan: "ResumePlan") -> Iterator[tuple[str, int, bool, str]]:
    """Yield calls, as one where the same is called in a row and meets with the same."""
    latest: tuple[str, int, bool, str] | None = None
    for call in plan.calls:
        for number, reused, why in call.runs:
            if latest is not None and (latest[0], *latest[2:]) == (call.name, reused, why):
                latest = call.name, latest[1] + number, reused, why
                continue
            if latest is not None:
                yield latest
            latest = call.name, number, reused, why
    if latest is not None:
        yield latest
