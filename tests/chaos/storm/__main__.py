"""``python -m chaos.storm``: storms over SQLite and PostgreSQL in turn, until so many processes were hit.

Each storm has a seed of its own, counted from the first one. One that breaks a rule says what was done and
when, what broke, and where the logs of all its processes are; the others remove theirs.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from typing import Final

from chaos.storm.plan import Plan, plan_of
from chaos.storm.storm import Outcome, Storm
from support.postgres import PostgresServer, running_server
from support.signals import hear_interrupts

ACTS: Final = 50
"""Of one storm: a minute or two."""
DATABASES: Final = ("sqlite", "postgresql")
SHOWN: Final = 20
"""Violations; one cause can break many runs."""


def main() -> int:
    """Have storms; returns 1 when one of them broke something."""
    given = _arguments()
    hear_interrupts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and end all that was started
    databases = [given.database] if given.database else list(DATABASES)
    print(f"storms with {given.kills} kills and stops over {', '.join(databases)}; again: SEED={given.seed}")
    done, total, begun = 0, Counter[str](), time.monotonic()
    with ExitStack() as stack:
        postgres = stack.enter_context(running_server()) if "postgresql" in databases else None
        for plan in _plans(given, databases):
            outcome = _storm(plan, postgres, given.show)
            done += outcome.done
            total.update(outcome.counts)
            if outcome.broken and not given.go_on:
                return 1
    print(f"{done} kills and stops in {time.monotonic() - begun:.0f} s; {_shown(total)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="kills and stops, of all storms together")
    parser.add_argument(
        "--seed", type=int, default=SystemRandom().randrange(1_000_000), help="of the first storm"
    )
    parser.add_argument("--database", choices=DATABASES, help="only this one")
    parser.add_argument("--acts", type=int, default=ACTS, help="kills and stops of one storm")
    parser.add_argument("--show", action="store_true", help="show each act when it is done")
    parser.add_argument("--go-on", action="store_true", help="go on after a storm that broke something")
    return parser.parse_args()


def _plans(given: argparse.Namespace, databases: list[str]) -> Iterator[Plan]:
    left, number = given.kills, 0
    while left > 0:
        acts = min(given.acts, left)
        yield plan_of(given.seed + number, databases[number % len(databases)], acts)
        left -= acts
        number += 1


def _storm(plan: Plan, postgres: PostgresServer | None, show: bool) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix=f"storm-{plan.seed}-"))
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if show:
            print(line, flush=True)

    print(f"seed {plan.seed} on {plan.database}, logs are in {folder}", flush=True)
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'taskyard.db'}"
        if plan.database == "postgresql":
            assert postgres is not None
            url = stack.enter_context(postgres.database())
        outcome = Storm(plan, folder, url, postgres, say).run()
    verdict = f"{len(outcome.broken)} violations" if outcome.broken else "nothing broken"
    print(
        f"seed {plan.seed} on {plan.database}: {outcome.done} kills and stops in {outcome.seconds:.0f} s, "
        f"{_shown(outcome.counts)}: {verdict}",
        flush=True,
    )
    if outcome.broken:
        _tell(plan, outcome, lines, folder)
    else:
        shutil.rmtree(folder)
    return outcome


def _tell(plan: Plan, outcome: Outcome, lines: list[str], folder: Path) -> None:
    print("\n".join(lines))
    for rule, count in Counter(violation.rule for violation in outcome.broken).items():
        print(f"BROKEN {rule}: {count}")
    for violation in outcome.broken[:SHOWN]:
        print(f"  {violation.rule}: {violation.text}")
    print(f"logs are in {folder}")
    print(f"again: make storm SEED={plan.seed} KILLS={len(plan.acts)} DATABASE={plan.database}", flush=True)


def _shown(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
