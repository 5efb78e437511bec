"""Where the processes of a storm run: each place has a process, and another one after it.

Invariant: who was stopped is continued, and who is gone is started again, whatever else happens meanwhile;
ends that nobody has asked for are noted.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil
from simulation.history import Event
from support.processes import Child

STOPPED_SECONDS: Final = 60.0
"""In which whoever is told to end has ended, on a busy machine."""
WAITING: Final = {"server": (4, 5), "agent": (), "client": (4,)}
"""Exit codes of a server that could not have its database, and of a client that nobody has answered; they are
started again."""
AGAIN_SECONDS: Final = 0.3
LEFT: Final = {"server": frozenset({0, 5}), "agent": frozenset({0}), "client": frozenset({143})}
"""Exit codes of those that were told to end; -15 as well, before they have listened for it."""


class Place:
    """A server, an agent or a client."""

    def __init__(self, name: str, kind: str, start: Callable[["Place"], Child]) -> None:
        self.name, self.kind = name, kind
        self._start = start
        self.life = 0
        self.child: Child
        self.lives: list[tuple[float, str]] = []
        """When which process has started."""
        self.away = False
        """Whether its process was ended, and another one has not been started yet."""
        self.stopping_since: float | None = None
        self.frozen: list[psutil.Process] = []
        self._ready_since: float | None = None
        self.done = False
        """Whether its end is in order from now on."""

    @property
    def who(self) -> str:
        """The name of its present process, which no other one has."""
        return f"{self.name}.{self.life}"

    @property
    def ended_well(self) -> bool:
        """Whether its process has ended because its work was done."""
        return not self.away and self.child.code == 0

    @property
    def up(self) -> bool:
        """Whether there is a process that runs."""
        return not (self.away or self.frozen or self.stopping_since) and self.child.running

    @property
    def ready_for(self) -> float:
        """For how many seconds its process has been doing what it is there for; less than 0 before."""
        return time.monotonic() - self._ready_since if self._ready_since is not None else -0.5

    def looked_at(self) -> float | None:
        """Find out whether its process is ready; returns how many seconds that took, the first time."""
        if (
            self._ready_since is None
            and self.up
            and (self.kind == "client" or "ready" in self.child.output())
        ):
            self._ready_since = time.monotonic()
            return time.time() - self.lives[-1][0]
        return None

    def start(self) -> None:
        """Start a process."""
        self.life += 1
        self.away, self._ready_since = False, None
        self.lives.append((time.time(), self.who))
        self.child = self._start(self)

    def processes(self) -> list[psutil.Process]:
        """Return its process, and all below it."""
        with suppress(psutil.NoSuchProcess):
            return [psutil.Process(self.child.pid), *self.child.descendants()]
        return []


class Places:
    """All places of an installation, and what happens at them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.all: dict[str, Place] = {}
        self.events: list[Event] = []
        self.database_away = False
        self._later: list[tuple[float, Callable[[], None]]] = []

    def add(self, place: Place) -> None:
        self.all[place.name] = place
        place.start()

    def of(self, kind: str) -> list[Place]:
        return [place for place in self.all.values() if place.kind == kind]

    def note(self, kind: str, who: str, value: object = None) -> None:
        self.events.append(Event(time.time(), kind, who=who, value=value))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, call))

    @property
    def whole(self) -> bool:
        """Whether everybody runs, and nothing is to be done any more."""
        return not self._later and all(place.up or place.done for place in self.all.values())

    # What is done to them.

    def kill(self, place: Place, seconds: float) -> None:
        """``kill -9``, and start it again after a while."""
        place.child.kill()
        self._gone(place, seconds)

    def stop(self, place: Place, seconds: float) -> None:
        """SIGTERM; once it has ended, start it again after a while."""
        place.stopping_since = time.monotonic()
        place.child.process.terminate()
        self._stopped(place, seconds)

    def _stopped(self, place: Place, seconds: float) -> None:
        assert place.stopping_since is not None
        code = place.child.code
        if code is None and time.monotonic() - place.stopping_since < STOPPED_SECONDS:
            self.later(0.0, lambda: self._stopped(place, seconds))
            return
        place.stopping_since = None
        if code is None:
            self.note("fatal", place.who, f"did not end within {STOPPED_SECONDS:g} s of SIGTERM")
            place.child.kill()
        elif code != -15 and code not in LEFT[place.kind]:
            self.note("fatal", place.who, f"ended with {code} after SIGTERM")
        self._gone(place, seconds)

    def _gone(self, place: Place, seconds: float) -> None:
        place.away = True
        self.note("died", place.who)
        self.later(seconds, place.start)

    def freeze(self, place: Place, seconds: float, processes: list[psutil.Process]) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                place.frozen.append(process)
        self.note("frozen", place.who, seconds)
        self.later(seconds, lambda: self.thaw(place))

    def thaw(self, place: Place) -> None:
        """SIGCONT, in the order in which they were stopped."""
        for process in place.frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        place.frozen = []

    # What happens by itself.

    def tick(self) -> None:
        """Do what is due, and notice who has ended."""
        now = time.monotonic()
        due = sorted((each for each in self._later if each[0] <= now), key=lambda each: each[0])
        self._later = [each for each in self._later if each[0] > now]
        for _, call in due:
            call()
        for place in self.all.values():
            if (seconds := place.looked_at()) is not None:
                self._say(f"{place.who} is ready after {seconds:.1f} s")
            if not (place.away or place.frozen or place.stopping_since or place.child.running):
                self._ended(place)

    def _ended(self, place: Place) -> None:
        code = place.child.code
        if place.done and place.ended_well:
            return
        self._say(f"{place.who} ended by itself with {code}")
        if code not in WAITING[place.kind]:
            kind = "fatal" if place.kind == "server" else "peer_ended"
            said = place.child.errors().strip().splitlines()[-1:] or [""]
            value = f"ended with {code}" if kind == "fatal" else (f"{code}: {said[0]}", False)
            self.note(kind, place.who, value)
        self._gone(place, AGAIN_SECONDS)
