"""One storm: an installation is started, hit, made whole, brought to rest, ended and judged.

Theory of operation. One loop looks at everything many times a second: acts whose time has come are done as
soon as their targets are there, who was stopped is continued when its time is over, who is gone is started
again. After the last act everybody is there; the clients are told to end, which they do when all they wait
for has ended. Then nothing may be open any more, and what is written down everywhere is put together and
judged.
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from chaos.storm import commit_log
from chaos.storm.acts import Acts
from chaos.storm.installation import StormyInstallation
from chaos.storm.places import Place, Places
from chaos.storm.plan import Plan
from chaos.storm.recording import Recording, history_of
from simulation.checker import Violation, violations
from simulation.history import Event
from support.postgres import PostgresServer

LOOK_SECONDS: Final = 0.02
ARMED_SECONDS: Final = 0.003
"""While a run is waited for that has just begun."""
TARGET_SECONDS: Final = 120.0
"""For an act to find its target: somebody else may be away, and the machine busy."""
REST_SECONDS: Final = 180.0
"""For everything to end once the world is whole: long runs that are repeated, on a busy machine."""
IDLE_SECONDS: Final = 2.0
BUSY: Final = 0.5
"""Of a processor: who uses more with nothing to do goes round."""


class Outcome(NamedTuple):
    """What became of a storm."""

    done: int
    """Acts that hit something."""
    broken: list[Violation]
    counts: dict[str, int]
    seconds: float


class Storm:
    """A storm over one database."""

    def __init__(
        self, plan: Plan, folder: Path, url: str, postgres: PostgresServer | None, show: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._show = show
        self._begun = time.monotonic()
        self._log = (folder / "storm.log").open("a", buffering=1)
        self._places = Places(self._say)
        self._installation = StormyInstallation(plan, folder, url, self._places)
        self._acts = Acts(self._installation, postgres)
        self._open: list[Event] = []
        self._done = 0

    def run(self) -> Outcome:
        """Go through all of it."""
        installation = self._installation
        commit_log.install(installation.database)
        try:
            installation.start()
            self._wait(lambda: installation.executions.exists(), TARGET_SECONDS, "the first execution")
            self._storm()
            self._rest()
            self._end()
            recording = Recording(installation, self._places, self._open)
            history = history_of(recording)
            _write(history, self._installation.folder / "history")
        finally:
            installation.close()
            self._log.close()
        return Outcome(self._done, violations(history), recording.counts, time.monotonic() - self._begun)

    def _say(self, text: str) -> None:
        line = f"{time.monotonic() - self._begun:8.2f}  {text}"
        self._log.write(f"{time.time():.3f} {line}\n")
        self._show(line)

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> bool:
        """Let things happen until something is so; returns whether it became so."""
        if self._let_happen(condition, seconds):
            return True
        self._say(f"not within {seconds:g} s: {what}")
        return False

    def _let_happen(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._places.tick()
            time.sleep(ARMED_SECONDS if self._acts.armed else LOOK_SECONDS)  # nothing tells what others do
        return True

    def _storm(self) -> None:
        begun = time.monotonic()
        waiting = list(self._plan.acts)

        def over() -> bool:
            for act in [each for each in waiting if begun + each.at <= time.monotonic()]:
                if hit := self._acts.do(act):
                    waiting.remove(act)
                    self._done += 1
                    self._say(f"{act} ({hit})")
            return not waiting

        last = self._plan.acts[-1].at if self._plan.acts else 0.0
        self._wait(over, last + TARGET_SECONDS, "all acts find their targets")
        self._wait(lambda: self._places.whole, TARGET_SECONDS, "everybody is back")
        self._say("the world is whole")

    def _rest(self) -> None:
        """Tell the clients to end, and wait until nothing is open."""
        clients = self._places.of("client")
        for client in clients:
            client.done = True
        self._installation.end.touch()
        ended = self._wait(lambda: all(each.ended_well for each in clients), REST_SECONDS, "clients end")
        if not ended:
            self._ask([client for client in clients if not client.ended_well])
        self._wait(self._nothing_open, REST_SECONDS if ended else 1.0, "nothing is open")
        self._idle()

    def _ask(self, clients: list[Place]) -> None:
        """Note who waits still, and have each write down for what."""
        for client in clients:
            self._open.append(Event(time.time(), "waiting", who=client.who))
            if client.child.running:
                client.child.send(signal.SIGUSR1)
        self._let_happen(lambda: False, IDLE_SECONDS)

    def _nothing_open(self) -> bool:
        names = ("taskyard_open_runs", "taskyard_backlog_runs", "taskyard_held_runs")
        try:
            return not any(self._installation.metric(name) for name in names)
        except OSError:
            return False

    def _idle(self) -> None:
        """See whether anybody is busy with nothing to do."""
        places = [each for each in self._places.all.values() if each.up and each.kind != "client"]
        before = [_cpu(place.child.pid) for place in places]
        self._let_happen(lambda: False, IDLE_SECONDS)
        for place, used in zip(places, before, strict=True):
            if _cpu(place.child.pid) - used > BUSY * IDLE_SECONDS:
                self._places.note("spin", place.who)

    def _end(self) -> None:
        """End agents and server in order."""
        for kind in ("agent", "server"):
            for place in self._places.of(kind):
                place.done = True
                if place.child.running:
                    place.child.process.terminate()
            self._wait(
                lambda kind=kind: not any(each.child.running for each in self._places.of(kind)),  # type: ignore[misc]
                TARGET_SECONDS,
                f"the {kind} ends",
            )


def _write(history: list[Event], path: Path) -> None:
    """Keep a history, one event a line, for whoever has to find out why a rule is broken."""
    path.write_text("".join(f"{event.at:.4f} {event[1:]}\n" for event in history))


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # what has ended by itself is noted as that
    return float(times.user + times.system)
