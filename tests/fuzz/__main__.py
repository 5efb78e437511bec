"""``python -m fuzz``: send a server what the contract allows, and what it does not, and see that it stands.

Everything a peer sends derives from the seed, which is printed. A server is right when it lives, ends every
call, never with INTERNAL or UNKNOWN, logs nothing that it did not foresee, answers whoever behaves, and has
forgotten everybody and the memory they took when all have left.
"""

import argparse
import asyncio
import random
import sys
import time
from typing import Final

import psutil
from fuzz.callers import Bystander, Findings, Fuzzer
from support.programs import Program, stage

PEERS: Final = 4
LEASE_SECONDS: Final = 3
MOST_MB: Final = 400.0
"""Of a server that has nobody connected any more; it holds the runs that were submitted, and caches."""
_NOT_FORESEEN: Final = ("Traceback", " failed [", "never retrieved", "CRITICAL", "Fatal")


def main() -> int:
    """Fuzz for some time; returns 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--calls", type=int, default=1 << 40, help="most calls of each peer")
    given = parser.parse_args()
    print(
        f"fuzzing every RPC for {given.seconds:g} s with {PEERS} peers; again: SEED={given.seed}", flush=True
    )
    with stage() as opened:
        leases = ("--agent-lease", str(LEASE_SECONDS), "--session-lease", str(LEASE_SECONDS))
        server = opened.serve(*leases, "--http", "127.0.0.1:0")
        findings = asyncio.run(_fuzz(opened.environment["TASKYARD_SERVER"], given))
        findings.faults += _left_behind(server)
    for line in sorted(f"{count:8} {what}" for what, count in findings.calls.items()):
        print(line)
    for fault in findings.faults:
        print("FAULT", fault)
    print(f"{findings.calls.total()} calls, {len(findings.faults)} faults, SEED={given.seed}")
    return 1 if findings.faults else 0


async def _fuzz(address: str, given: argparse.Namespace) -> Findings:
    findings, until = Findings(), time.monotonic() + given.seconds
    bystander = Bystander(address, findings)
    peers = [Fuzzer(address, given.seed, number, findings).run(until, given.calls) for number in range(PEERS)]
    beside = asyncio.create_task(bystander.run(until))
    await asyncio.gather(*peers)
    await beside
    print(f"the slowest answer to whoever behaves took {bystander.slowest:.1f} s")
    return findings


def _left_behind(server: Program) -> list[str]:
    """Look at the server after all have left: is it there, has it forgotten them, what has it logged?"""
    faults = []
    if server.process.poll() is not None:
        faults.append(f"the server has ended with code {server.process.returncode}")
    else:
        time.sleep(2 * LEASE_SECONDS)  # leases are what ends those who left without a word
        megabytes = psutil.Process(server.process.pid).memory_info().rss / 1e6
        print(f"the server has {megabytes:.0f} MB")
        if megabytes > MOST_MB:
            faults.append(f"the server still has {megabytes:.0f} MB")
        server.end()
    lines = server.log.splitlines()
    for at, line in enumerate(lines):
        if any(sign in line for sign in _NOT_FORESEEN):
            faults.append("the log says\n" + "\n".join(lines[max(0, at - 1) : at + 40]))
            break
    return faults


if __name__ == "__main__":
    sys.exit(main())
