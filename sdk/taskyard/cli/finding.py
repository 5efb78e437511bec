"""Finds the run a person means: by id, by a part of an id, or by name.

Programs are started again and again, so many runs have the same name: then the newest is meant by those who
only look, and they are told that there are others. Whoever changes something means the only one that is still
open. Invariant: nothing is changed by a guess, and of several runs that a part of an id fits, none is chosen.
"""

import string
import sys
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from taskyard._data.runs.short_ids import ShortIds
from taskyard._data.runs.tracking import tracked_flow_run
from taskyard.cli.exits import CliError
from taskyard.cli.searching import Search
from taskyard.cli.views.documents import state_of
from taskyard.cli.views.output import clock_time
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import FIRST_FINAL

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run

SHORTEST_PART: Final = 8
"""Ids begin with their time: fewer digits are the same for all runs of a minute, or in many ids by chance."""
SCANNED_RUNS: Final = 10_000
"""Ten pages: more would keep a person waiting, who can give the whole id instead."""
SHOWN_CANDIDATES: Final = 5
"""Enough to see what they have in common; whoever wants all of them has `run ls`."""


def find_run(api: "Client", text: str, *, to_change: bool = False) -> "Run":
    """Return the run that `text` names.

    Args:
        api: Where to look.
        text: An id, at least 8 digits that follow each other in one, or a name. The id of the task run that
            stands for a subflow means the subflow.
        to_change: Whether something is going to be changed, and not only looked at.

    Raises:
        CliError: No run fits, or several do.
        RunNotFound: It is a whole id, and there is no such run.
    """
    from taskyard_api.v1.run_service_pb2 import RunFilter

    digits = _digits_of(text)
    if len(digits) == 2 * ID_BYTES:
        run_id = bytes.fromhex(digits)
        return api.get_run(tracked_flow_run(run_id) or run_id)
    named = Search(api, RunFilter(name_contains=text), SCANNED_RUNS)
    found = _by_part(api, digits) if len(digits) >= SHORTEST_PART else []
    if len(found) > 1:
        raise CliError(f"'{text}' is in the ids of several runs: {_shown(found)}; give more of the id")
    found = found or _few(run for run in named if run.name == text)
    if not found:
        raise CliError(
            f"there is no run '{text}' among {_looked_at(named)}; give what 'taskyard run ls' shows: an id, "
            f"or at least {SHORTEST_PART} digits of it, or the name of a run"
        )
    return api.get_run(_chosen(found, text, to_change=to_change).run_id)


def _digits_of(text: str) -> str:
    """Return the hexadecimal digits of what looks like an id, else nothing."""
    digits = text.replace("-", "").lower()
    return digits if set(digits) <= set(string.hexdigits) else ""


def _by_part(api: "Client", digits: str) -> "list[Run]":
    """Return runs whose ids begin with some digits, else those that have them anywhere."""
    from taskyard_api.v1.run_service_pb2 import RunFilter

    inside: list[Run] = []
    begin: list[Run] = []
    for run in Search(api, RunFilter(), SCANNED_RUNS):
        place = run.run_id.hex().find(digits)
        if place == 0:
            begin.append(run)
        elif place > 0:
            inside.append(run)
        if len(begin) > SHOWN_CANDIDATES:
            break
    return begin or inside


def _chosen(found: "list[Run]", name: str, *, to_change: bool) -> "Run":
    """Return which of the runs of a name is meant, newest first."""
    if len(found) == 1:
        return found[0]
    if not to_change:
        said = f"{_number(found)} runs are called '{name}'; this is the newest, others are"
        print(f"taskyard: {said} {_shown(found[1:], found)}", file=sys.stderr)
        return found[0]
    open_ones = [run for run in found if run.state < FIRST_FINAL]
    if len(open_ones) > 1:
        raise CliError(f"several open runs are called '{name}': {_shown(open_ones)}; give an id")
    return open_ones[0] if open_ones else found[0]


def _looked_at(named: Search) -> str:
    if named.searched_to_us:
        return f"those submitted since {clock_time(named.searched_to_us)[:-4]}"
    return f"the newest {SCANNED_RUNS:,}"


def _few(runs: "Iterable[Run]") -> "list[Run]":
    """Return one more than can be shown: nobody needs to know how many there are beyond that."""
    return list(islice(runs, SHOWN_CANDIDATES + 1))


def _number(found: "list[Run]") -> str:
    return str(len(found)) if len(found) <= SHOWN_CANDIDATES else f"more than {SHOWN_CANDIDATES}"


def _shown(runs: "list[Run]", among: "list[Run] | None" = None) -> str:
    """Describe some runs so that one can choose, with parts of their ids that tell all of them apart."""
    ids = ShortIds(run.run_id for run in among or runs)
    shown = [
        f"{ids.of(run.run_id)} ({run.name}, {state_of(run)[1]}, {clock_time(run.submitted_us)[:-4]})"
        for run in runs[:SHOWN_CANDIDATES]
    ]
    return ", ".join(shown) + (", ..." if len(runs) > SHOWN_CANDIDATES else "")
