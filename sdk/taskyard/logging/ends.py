"""How runs ended, as their program is told: shown like a record that another process wrote.

The control plane has recorded the same text in the logs of the runs, so nothing here is sent.
"""

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskyard.logging.loggers import in_shown_place, show
from taskyard_contract.for_people import run_lines
from taskyard_contract.ids import format_id

if TYPE_CHECKING:
    from taskyard_api.v1.session_service_pb2 import RunOutcome


def show_ends(outcomes: "Sequence[RunOutcome]") -> None:
    """Show how task runs ended that did not complete."""
    in_shown_place(_show_all, outcomes)


def _show_all(outcomes: "Sequence[RunOutcome]") -> None:
    for outcome in outcomes:
        try:
            name = outcome.run_name or format_id(outcome.run_id)
            show(name, outcome.ended_us, run_lines.level_of(int(outcome.state)), text_of(outcome))
        except Exception:  # a handler of the program raised, see `show_batch`
            traceback.print_exc()


def text_of(outcome: "RunOutcome") -> str:
    """Say how a run ended, as its log does."""
    return run_lines.finished(
        int(outcome.state),
        int(outcome.reason),
        outcome.state_name,
        outcome.message,
        outcome.attempt,
        outcome.attempts,
    )
