"""A user's program in a storm: waves of everything that the SDK offers, until it is told to end.

Arguments: its name, a seed, its journal, and the file that tells it to end. It is killed, stopped and started
again by the storm; each process of it has a journal of its own. Exit code 3: it was told of an error that no
fault accounts for; 4: no control plane has answered for as long as a program waits.
"""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from chaos.storm import tasks
from chaos.storm.journal import Journal
from chaos.storm.tasks import expected
from chaos.storm.whereabouts import tell_when_asked

from taskyard import Future, flow
from taskyard._network.server.calls import Client as Calls
from taskyard.exceptions import ConnectionFailed, RunNotFound, TaskyardError
from taskyard.runtime import flow_run
from taskyard.settings import server

BROKE: Final = 3
NOBODY_ANSWERS: Final = 4
BEAT_SECONDS: Final = 0.1
STILL_SECONDS: Final = 1.0
"""A program that did not get to run for so long may have lost its lease by that: its journal says so."""

Futures = list[Future[Any]]
_programs: "list[Program]" = []
"""The only one: a flow's arguments are recorded, and this is nothing to record."""


class Program:
    """One process of the program."""

    def __init__(self, name: str, seed: str, journal: Journal, end: Path) -> None:
        self.name = name
        self.draw = Random(seed)
        self.journal = journal
        self._end = end
        self._unowned: Futures = []
        self.wave = 0

    def run(self) -> None:
        """Do one wave after the other."""
        tell_when_asked()
        threading.Thread(target=self._beat, daemon=True).start()
        self.journal.watch_acknowledgements()
        while not self._end.exists():
            self.wave += 1
            self._delay()
            state = _wave(self.wave, return_state=True)
            self.journal.note("told", self.flow, state=tasks.number_of(state), result=None)
        self.journal.told(self._unowned)

    def _beat(self) -> None:
        """Note when this process stood still."""
        last = time.time()
        while True:
            time.sleep(BEAT_SECONDS)
            now = time.time()
            if now - last > STILL_SECONDS:
                self.journal.note("still", since=last)
            last = now

    def _delay(self) -> None:
        """Submit runs that belong to no flow: each is durable when the call returns."""
        for _ in range(self.draw.randrange(3)):
            number = self.draw.randrange(1000)
            future = tasks.outliving.delay(number)
            run = future.task_run_id.hex
            self.journal.submitted(future, returns=expected(run, number), client="")
            self.journal.acknowledged([future.run_id])
            self._unowned.append(future)

    def body(self) -> None:
        """Submit what a wave consists of, and wait for all of it."""
        self.flow = str(flow_run.id).replace("-", "")
        self.journal.note("submitted", self.flow, spec={"is_flow": True})
        parts = [
            self._graph,
            self._retries,
            self._keys,
            self._nested,
            self._sharing,
            self._large,
            self._logs,
            self._cancels,
            self._long,
        ]
        self.draw.shuffle(parts)
        futures: Futures = []
        for part in parts:
            if self.draw.random() < 0.7:
                futures += part()
        self.journal.told(futures)

    def note(
        self, future: Future[Any], *value: Any, upstream: Sequence[Future[Any]] = (), **spec: Any
    ) -> Future[Any]:
        """Note a run of this wave, and what it should return."""
        ids = [each.task_run_id.hex for each in upstream]
        if value:
            spec["returns"] = expected(future.task_run_id.hex, *value)
        self.journal.submitted(future, self.flow, upstream=ids, **spec)
        return future

    def _graph(self) -> Futures:
        width, ms = self.draw.randrange(5, 40), self.draw.choice((1, 5, 20))
        first = list(tasks.source.map(range(width), ms))
        second = list(tasks.double.map(first, ms))
        third = [tasks.double.submit(each, ms) for each in second]
        last = tasks.total.submit(third, ms)
        for each, (one, two, three) in enumerate(zip(first, second, third, strict=True)):
            self.note(one, each)
            self.note(two, 2 * each, upstream=[one])
            self.note(three, 4 * each, upstream=[two])
        return [*first, *second, *third, self.note(last, 4 * sum(range(width)), upstream=third)]

    def _retries(self) -> Futures:
        futures: Futures = []
        for number in range(self.draw.randrange(1, 6)):
            failures = self.draw.choice((0, 1, 2, 2, 3))
            future = tasks.flaky.submit(number, failures)
            futures.append(self.note(future, -number, max_retries=2, failures=failures))
            if failures > 2:
                after = tasks.double.submit(future, 1)
                futures.append(self.note(after, upstream=[future]))
        return futures

    def _keys(self) -> Futures:
        futures: Futures = []
        key = f"{self.name}-{self.wave}-{self.draw.randrange(10**9)}"
        for number in range(self.draw.randrange(2, 12)):
            own = f"{key}-{number % 2}"
            futures.append(self.note(tasks.keyed.submit(own, 20), cache_key=own))
        above = self.note(tasks.source.submit(7, 5), 7)
        for _ in range(self.draw.randrange(2, 5)):
            future = tasks.keyed_by_value.submit(f"{key}-v", above)
            futures.append(self.note(future, upstream=[above], cache_key=f"{key}-v-7"))
        return [above, *futures]

    def _nested(self) -> Futures:
        futures = []
        for number in range(self.draw.randrange(1, 3)):
            width = self.draw.randrange(1, 4)
            value = sum((number + each) ** 2 for each in range(width))
            futures.append(self.note(tasks.outer.submit(number, width), value, calls=width))
        return futures

    def _sharing(self) -> Futures:
        """Submit coroutines, which share processes, and some that await others."""
        count, ms = self.draw.randrange(5, 60), self.draw.choice((5, 50, 300))
        waiting = [self.note(tasks.waiting.submit(n, ms), n) for n in range(count)]
        after = [self.note(tasks.double.submit(waiting[0], 1), 0, upstream=waiting[:1])]
        for number in range(self.draw.randrange(0, 3)):
            width = self.draw.randrange(1, 5)
            value = sum((number + each) ** 2 for each in range(width))
            after.append(self.note(tasks.gathering.submit(number, width), value, calls=width))
        return [*waiting, *after]

    def _large(self) -> Futures:
        first = self.note(tasks.large.submit(3), 3, "x" * tasks.LARGE)
        after = tasks.length.submit(first)
        return [first, self.note(after, tasks.LARGE + 3, upstream=[first])]

    def _logs(self) -> Futures:
        counts = [self.draw.randrange(1, 40) for _ in range(self.draw.randrange(1, 4))]
        return [self.note(tasks.chatty.submit(count), count) for count in counts]

    def _long(self) -> Futures:
        seconds = [round(self.draw.uniform(0.5, 5.0), 2) for _ in range(self.draw.randrange(1, 3))]
        return [self.note(tasks.long.submit(each), each) for each in seconds]

    def _cancels(self) -> Futures:
        """Submit runs and ask for the end of some, by their futures and by a call that is answered."""
        futures = [self.note(tasks.source.submit(n, 30), n) for n in range(self.draw.randrange(2, 8))]
        futures.append(self.note(tasks.long.submit(2.5), 2.5))
        time.sleep(self.draw.choice((0.0, 0.02, 0.3)))  # how far they get until then is what differs
        for future in self.draw.sample(futures, len(futures) // 2):
            self.journal.note("cancel_requested", future.task_run_id.hex)
            if self.draw.random() < 0.5:
                future.cancel()
            else:
                self._cancel(future)
        return futures

    def _cancel(self, future: Future[Any]) -> None:
        with Calls(server(), patient=True) as calls:
            try:
                state = calls.cancel_run(future.run_id)
            except RunNotFound:
                return  # it is still on its way
        self.journal.note("cancel_acknowledged", future.task_run_id.hex, state=state)


@flow
def _wave(number: int) -> None:
    _programs[0].body()


def main(name: str, seed: str, journal: str, end: str) -> int:
    """Run the program; returns its exit code."""
    program = Program(name, seed, Journal(Path(journal)), Path(end))
    _programs.append(program)
    try:
        program.run()
    except TaskyardError as error:
        program.journal.note("broke", why=f"{type(error).__name__}: {error}")
        return NOBODY_ANSWERS if isinstance(error, ConnectionFailed) else BROKE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
