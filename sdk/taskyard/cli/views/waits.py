"""Why runs wait, as people read it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskyard.cli.views.documents import name_in, state_of
from taskyard.cli.views.output import print_table
from taskyard_contract.states import FIRST_FINAL, WaitReason, shown_as

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Explanation, Run, Wait


def print_explanation(run: "Run", explained: "Explanation") -> None:
    """Print why a run waits, or that it does not."""
    name = explained.name or run.name
    if explained.waits:
        print(f"{name} waits")
        print_waits(explained.waits)
    elif explained.state >= FIRST_FINAL or run.state >= FIRST_FINAL:
        print(f"{name} has ended: {state_of(run)[1]}")
    else:
        print(f"{name} waits for nothing: it is {_shown(explained, run)}")


def print_waits(waits: "Sequence[Wait]") -> None:
    """Print reasons, a line each, with the runs they are about where these are others."""
    rows = [(name_in(WaitReason, wait.reason).lower(), _whose(wait), wait.message) for wait in waits]
    print_table(("REASON", "OF", "WHY"), rows)


def _whose(wait: "Wait") -> str:
    if not wait.HasField("about"):
        return "itself"
    return wait.about.name or wait.about.run_id.hex()


def _shown(explained: "Explanation", run: "Run") -> str:
    try:
        return shown_as(int(explained.state))[1]
    except ValueError:
        return state_of(run)[1]
