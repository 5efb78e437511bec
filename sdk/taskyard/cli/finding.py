"""Finds the run a person means: by id, by the beginning of an id, or by name.

Invariant: the answer is never a guess. When several of the runs that were looked at fit, the command ends and
names them; when none does, it says how many were looked at.
"""

import string
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from taskyard.cli.exits import CliError
from taskyard.cli.searching import Search
from taskyard.cli.views.output import clock_time
from taskyard_contract.ids import ID_BYTES, format_id

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run

SHORTEST_PREFIX: Final = 8
"""Ids begin with their time: fewer digits are the same for all runs of a minute."""
SCANNED_RUNS: Final = 10_000
"""Ten pages: more would keep a person waiting, who can give the whole id instead."""
SHOWN_CANDIDATES: Final = 5
"""Enough to see what they have in common; whoever wants all of them has `run ls`."""


def find_run(api: "Client", text: str) -> "Run":
    """Return the run that `text` names.

    Args:
        api: Where to look.
        text: An id, at least the first 8 digits of one, or a name.

    Raises:
        CliError: No run fits, or several do.
        RunNotFound: It is a whole id, and there is no such run.
    """
    from taskyard_api.v1.run_service_pb2 import RunFilter

    digits = _digits_of(text)
    if len(digits) == 2 * ID_BYTES:
        return api.get_run(bytes.fromhex(digits))
    newest = Search(api, RunFilter(), SCANNED_RUNS)
    named = Search(api, RunFilter(name_contains=text), SCANNED_RUNS)
    found = _few(run for run in newest if _begins(run, digits)) if len(digits) >= SHORTEST_PREFIX else []
    found = found or _few(run for run in named if run.name == text)
    if len(found) > 1:
        raise CliError(f"'{text}' fits several runs: {_shown(found)}; give more of the id")
    if not found:
        among = f"the newest {SCANNED_RUNS:,}"
        if named.searched_to_us:
            among = f"those submitted since {clock_time(named.searched_to_us)[:-4]}"
        raise CliError(
            f"there is no run '{text}' among {among}; give the id that 'taskyard run ls' shows, at least its "
            f"first {SHORTEST_PREFIX} digits, or the name of a run"
        )
    return api.get_run(found[0].run_id)


def _digits_of(text: str) -> str:
    """Return the hexadecimal digits of what looks like an id, else nothing."""
    digits = text.replace("-", "").lower()
    return digits if set(digits) <= set(string.hexdigits) else ""


def _begins(run: "Run", digits: str) -> bool:
    return run.run_id.hex().startswith(digits)


def _few(runs: "Iterable[Run]") -> "list[Run]":
    """Return one more than can be shown: nobody needs to know how many there are beyond that."""
    return list(islice(runs, SHOWN_CANDIDATES + 1))


def _shown(runs: "list[Run]") -> str:
    shown = [f"{format_id(run.run_id)} ({run.name})" for run in runs[:SHOWN_CANDIDATES]]
    return ", ".join(shown) + (", ..." if len(runs) > SHOWN_CANDIDATES else "")
