"""How long what is over is kept: options and environment variables of the commands that serve."""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any, Final, NamedTuple

from taskyard_contract.for_people.durations import bytes_of, seconds_of
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.settings import InvalidSettings, RetentionSettings

NEVER: Final = "never"


def _time(text: str) -> float:
    return inf if text == NEVER else float(seconds_of(text))


def _states(text: str) -> dict[RunState, float]:
    """Read "failed=90d,crashed=90d"."""
    ends = {state.name.lower(): state for state in RunState if state >= FIRST_FINAL}
    found: dict[RunState, float] = {}
    for part in filter(None, text.split(",")):
        name, _, time = part.partition("=")
        if name.strip().lower() not in ends:
            raise ValueError(f"'{name}' is no state in which runs end; these are {', '.join(sorted(ends))}")
        found[ends[name.strip().lower()]] = _time(time)
    return found


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"'{text}' is no number of runs")
    return int(text)


class Option(NamedTuple):
    """One option and its variable."""

    name: str
    value: str
    read: Callable[[str], Any]
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable that says the same."""
        return "TASKYARD_RETENTION_" + self.name.upper().replace("-", "_")


OPTIONS: Final[Mapping[str, Option]] = {
    "runs_seconds": Option(
        "runs", "TIME", _time, "how long runs are kept after their end: 12h, 30d, never (default: 30d)"
    ),
    "logs_seconds": Option("logs", "TIME", _time, "how long what runs logged is kept (default: 14d)"),
    "states": Option(
        "states", "STATE=TIME,...", _states, "the same by how runs ended: failed=90d,crashed=90d"
    ),
    "keep_last": Option(
        "keep-last", "N", _count, "how many runs of each flow stay however old they are (default: 0)"
    ),
    "home_bytes": Option(
        "max-size",
        "SIZE",
        bytes_of,
        "beyond which the oldest runs go earlier: 10GB; 0: never (default: 0, of a yard 10GB)",
    ),
}
"""By the name of the setting."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take the options. They are read by `retention_of`, like the variables."""
    for option in OPTIONS.values():
        text = f"{option.meaning}; or ${option.variable}"
        parser.add_argument(f"--retention-{option.name}", metavar=option.value, help=text)


def retention_of(options: argparse.Namespace, usual: RetentionSettings) -> RetentionSettings:
    """Return what was asked for, else what the environment says, else what is usual.

    Raises:
        InvalidSettings: A value makes no sense.
    """
    said: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        given = getattr(options, f"retention_{option.name.replace('-', '_')}")
        text = os.environ.get(option.variable, "") if given is None else given
        if not text:
            continue
        try:
            said[name] = option.read(text)
        except ValueError as error:
            whence = f"${option.variable}" if given is None else f"--retention-{option.name}"
            raise InvalidSettings(f"{whence}: {error}") from None
    return replace(usual, **said)
