"""Plays one script to a program in any language, and says whether it kept the contract.

    python -m conformance.server SCENARIO [--listen 127.0.0.1:0] [-- PROGRAM ARGUMENT ...]

With a program: starts it with ``{address}`` in its arguments replaced, judges it by what it sends, by its
exit code and by what it prints, and ends it when the script is over. Without: prints the address, and judges
the first program that calls by what it sends alone; a line on standard input, or its end, says that the
program has ended.

The last line is ``PASS`` or ``FAIL: <why>``, and the exit code 0 or 1.
"""

import argparse
import asyncio
import sys
import textwrap

from conformance.plane import Plane
from conformance.program import Program
from conformance.scenarios import SCENARIOS, Scenario
from conformance.things import KNOWN_RUN, OTHER_RUN, QUEUE
from conformance.verdict import Broken, demand

PROGRAMS = f"""
clients:
  To submit means: the task kit.add by name, in the queue {QUEUE}, with the arguments 3 and 4 in JSON; wait
  for it, and print its result (7) at the end of a line. A failure is an exit code that is not 0. Runs to
  watch, to cancel and of which to print the log have these ids:
  {KNOWN_RUN} and, to watch, {OTHER_RUN}

clients with a session:
  Submit the same over a session's stream, and say goodbye at the end.

workers:
  Serve the queue {QUEUE}, with three tasks by name: kit.add returns the sum of its arguments; kit.fail
  raises, with its first argument as the text; kit.sleep waits for so many seconds, can be cancelled
  meanwhile, and returns them.
"""
"""What there has to be in a program, whatever the script."""
ENDS_WITHIN = 20.0
"""Seconds that a program has to end once its script is over."""


async def play(scenario: Scenario, command: list[str], listen: str) -> str:
    """Play a script; returns why the program failed, empty when it did not."""
    plane = Plane()
    await plane.start(listen)
    print(f"listening on {plane.address}", flush=True)
    program = await Program.start(command, plane.address) if command else None
    try:
        await scenario.script(plane)
        if program is not None:
            await _judge(scenario, program)
        elif not scenario.serves:
            await asyncio.to_thread(sys.stdin.readline)
        unexpected = "" if scenario.serves else plane.unanswered()
        demand(not unexpected, f"the program called {unexpected} when there was no reason to")
    except Broken as broken:
        return str(broken)
    finally:
        if program is not None:
            await program.end()
        await plane.stop()
    return ""


async def _judge(scenario: Scenario, program: Program) -> None:
    """Judge how a program ends, unless it is one that would go on for ever."""
    if scenario.serves and not scenario.ends:
        return
    code = await program.ended(ENDS_WITHIN)
    demand(code is not None, f"the program did not end within {ENDS_WITHIN:g} s")
    if scenario.fails:
        demand(code not in (0, None), "the program ended with code 0, though what it was asked for failed")
    else:
        demand(
            code == 0, f"the program ended with code {code}, though all went well: {program.errors[-500:]}"
        )
    for text in scenario.prints:
        times = sum(line.endswith(text) for line in program.output.splitlines())
        demand(times == 1, f"the program printed {times} lines that end with {text!r}, and should one")
    if scenario.one_line:
        lines = [line for line in program.errors.splitlines() if line.strip()]
        demand(len(lines) == 1, f"the program wrote {len(lines)} lines to standard error, and should one")


def main() -> int:
    """Read the command line and play."""
    own, _, command = _split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        prog="python -m conformance.server",
        usage="%(prog)s SCENARIO [--listen ADDRESS] [-- PROGRAM ARGUMENT ...]",
        description=__doc__,
        epilog=PROGRAMS + "\nscenarios:\n" + "\n".join(map(_told, SCENARIOS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help="one of those below")
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="ADDRESS", help="where to listen; a free port unless said"
    )
    options = parser.parse_args(own)
    failed = asyncio.run(play(SCENARIOS[options.scenario], command, options.listen))
    print(f"FAIL: {failed}" if failed else "PASS", flush=True)
    return 1 if failed else 0


def _told(name: str) -> str:
    scenario = SCENARIOS[name]
    prints = f" Prints, each at the end of a line: {', '.join(scenario.prints)}." if scenario.prints else ""
    text = " ".join(scenario.about.split()).replace("``", "") + prints
    return textwrap.fill(text, 100, initial_indent=f"  {name:<23}", subsequent_indent=" " * 25)


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return words[:at], "--", words[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
