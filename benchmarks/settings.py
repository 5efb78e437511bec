"""Reads what to measure from the environment, the same way in the parent and in every driver."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W6-uploads", "W7", "W8", "W9")
_FULL = 10_000
"""The N at which W6 to W9 have their whole size."""
PEERS = ("ray", "dask", "celery", "prefect")
DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Settings:
    """What one run of the benchmarks measures."""

    workloads: tuple[str, ...]
    peers: tuple[str, ...]
    database: str
    n: int
    rounds: int
    round_trips: int
    width: int
    queued: tuple[int, ...]

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Build the settings, refusing names and numbers that mean nothing."""
        return cls(
            workloads=_chosen(env, "WORKLOADS", WORKLOADS, default="W1 W2 W3 W4"),
            peers=_chosen(env, "PEERS", PEERS, default=""),
            database=_chosen(env, "DATABASE", DATABASES, default="sqlite")[0],
            n=_number(env, "N", 10_000),
            rounds=_number(env, "ROUNDS", 5),
            round_trips=_number(env, "ROUND_TRIPS", 300),
            width=_number(env, "WIDTH", 1_000),
            queued=tuple(int(size) for size in _words(env.get("QUEUED") or "20000 100000 1000000")),
        )

    def scaled(self, full: int, least: int = 2) -> int:
        """Return how many of something W6 to W9 have: all at the default N, less with a smaller one."""
        return max(least, full * self.n // _FULL)


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _chosen(env: Mapping[str, str], key: str, known: tuple[str, ...], *, default: str) -> tuple[str, ...]:
    names = tuple(_words(env.get(key) or default))
    for name in names:
        if name not in known:
            raise SystemExit(f"{key}: {name!r} is unknown; choose from {', '.join(known)}")
    return names


def _number(env: Mapping[str, str], key: str, default: int) -> int:
    text = env.get(key) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise SystemExit(f"{key}: {text!r} is not a positive whole number")
    return int(text)
