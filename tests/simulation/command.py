"""Plays seeds, or a plan. `make simulate` calls it; see docs/simulation.md."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from simulation import known
from simulation.checker import Violation, check
from simulation.drawing import plan_of
from simulation.plan import Plan
from simulation.shrink import shrink
from simulation.world import play, plays

SHARE: Final = 20
"""Seeds that a process plays before it takes the next ones."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; returns whether something was found."""
    options = _parser().parse_args(arguments)
    if options.plan is not None:
        return _one(options, options.seed or 1, Plan.from_json(options.plan.read_text()))
    if options.seed is not None:
        return _one(options, options.seed, plan_of(options.seed))
    return _many(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one")
    parser.add_argument("--plan", type=Path, help="play a plan in a file; --seed decides its chances")
    parser.add_argument("--trace", action="store_true", help="show everything that happens")
    parser.add_argument(
        "--shrink", action="store_true", help="print the smallest plan that breaks the same rule"
    )
    parser.add_argument("--show", action="store_true", help="print the plan")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=1000, help="the first of them")
    parser.add_argument("--go-on", action="store_true", help="play all of them, and count")
    parser.add_argument("--strict", action="store_true", help="mind rules that are known not to hold yet")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser


def _one(options: argparse.Namespace, seed: int, plan: Plan) -> int:
    if options.show:
        print(plan.to_json())
    history, digest = play(str(seed), plan, _print if options.trace else None)
    found = check(history)
    for violation in found:
        print(f"{violation.rule}: {violation.text}")
    print(f"{len(history.events)} events, digest {digest}, {len(found)} violations")
    if found and options.shrink:
        smallest = shrink(str(seed), plan, found[0].rule, lambda text: print(text, file=sys.stderr))
        print(smallest.to_json())
    return int(bool(found))


def _print(at: float, who: str, text: str) -> None:
    print(f"{at:10.4f} {who:12} {text}", flush=True)


def _many(options: argparse.Namespace) -> int:
    """Play seeds on all cores, until one breaks a rule or to the end."""
    began, played = time.monotonic(), 0
    broken: dict[str, list[int]] = {}
    for seed, found in _results(options):
        played += 1
        for rule in dict.fromkeys(violation.rule for violation in found):
            broken.setdefault(rule, []).append(seed)
        if not options.strict:
            found = [violation for violation in found if violation.rule not in known.RULES]
        if found and not options.go_on:
            for violation in found:
                print(f"seed {seed} breaks {violation.rule}: {violation.text}")
            print(f"replay it: make simulate SEED={seed} TRACE=1")
            print(f"make it smaller: make simulate SEED={seed} SHRINK=1", flush=True)
            return 1
    took = time.monotonic() - began
    print(f"{played} seeds from {options.first} on, {took:.0f} s, {played * 60 / took:.0f} a minute")
    for rule, seeds in broken.items():
        print(f"{rule}: {len(seeds)} seeds: {', '.join(map(str, seeds[:10]))}")
    return int(bool(broken.keys() - (set() if options.strict else known.RULES)))


def _results(options: argparse.Namespace) -> Iterator[tuple[int, list[Violation]]]:
    last = options.first + options.seeds
    shares = [range(at, min(at + SHARE, last)) for at in range(options.first, last, SHARE)]
    if options.processes <= 1:
        for share in shares:
            yield from played(share)
        return
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for results in pool.imap(played, shares):
            yield from results


def played(seeds: range) -> list[tuple[int, list[Violation]]]:
    """Play some seeds; returns each with what it broke."""
    results = plays((str(seed), plan_of(seed)) for seed in seeds)
    return [(seed, check(history)) for seed, (history, _) in zip(seeds, results, strict=True)]
