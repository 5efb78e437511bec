"""How each act of a storm is done."""

import signal
from collections.abc import Callable
from random import Random

import psutil
from chaos.storm import lines
from chaos.storm.installation import StormyInstallation
from chaos.storm.places import Place
from chaos.storm.plan import STRIKE_SECONDS, Act
from support.postgres import PostgresServer
from support.processes import workers_of, zygotes_of


class Acts:
    """Does what a plan says to an installation."""

    def __init__(self, installation: StormyInstallation, postgres: PostgresServer | None) -> None:
        self._installation = installation
        self._places = installation.places
        self._postgres = postgres
        self._long = lines.Tail(installation.executions)
        self._armed: Act | None = None

    @property
    def armed(self) -> bool:
        """Whether the server is struck as soon as a long run begins."""
        return self._armed is not None

    def do(self, act: Act) -> str:
        """Do an act, if its target is there; returns the name of what was hit, or nothing."""
        if act.target in ("worker", "zygote"):
            return self._below(act)
        if act.target == "database":
            return self._database(act)
        if act.target == "everything":
            return self._everything(act)
        place = self._one_of(act, self._there(act, act.target))
        return self._to_place(act, place) if place is not None else ""

    def _one_of(self, act: Act, places: list[Place]) -> Place | None:
        return places[int(act.pick * len(places))] if places else None

    def _to_place(self, act: Act, place: Place) -> str:
        if act.verb == "strike":
            return self._strike(act, place)
        who = place.who
        if act.verb == "kill":
            self._places.kill(place, act.seconds)
        elif act.verb == "stop":
            self._places.stop(place, act.seconds)
        else:
            # Half of the times only the agent itself, so that its workers go on without it.
            alone = place.kind != "agent" or act.pick * 1000 % 1 < 0.5
            self._places.freeze(place, act.seconds, place.processes()[: 1 if alone else None])
        return who

    def _strike(self, act: Act, place: Place) -> str:
        """Kill the server right after a long run has started; till then this is not done."""
        if self._armed is not act:
            if self._armed is None:
                self._armed = act
                self._long.more()
            return ""
        if not any(each["kind"] == "long" for each in self._long.more()):
            return ""
        self._armed = None
        who = place.who
        self._places.later(act.pick * STRIKE_SECONDS, lambda: self._kill_if_up(place, act.seconds))
        return who

    def _kill_if_up(self, place: Place, seconds: float) -> None:
        if place.up:
            self._places.kill(place, seconds)

    def _below(self, act: Act) -> str:
        """Do something to a process below an agent."""
        find = workers_of if act.target == "worker" else zygotes_of
        found = [(agent, each) for agent in self._there(act, "agent") for each in find(agent.child)]
        if not found:
            return ""
        agent, process = found[int(act.pick * len(found))]
        try:
            if act.verb == "kill":
                process.kill()
            else:
                process.suspend()
                self._places.later(act.seconds, lambda: _resume(process))
        except psutil.NoSuchProcess:
            return ""
        self._places.note("struck", agent.who, self._installation.plan.slots if act.target == "zygote" else 1)
        return f"{process.pid} of {agent.who}"

    def _there(self, act: Act, kind: str) -> list[Place]:
        return [each for each in self._places.of(kind) if each.up and each.ready_for > act.after]

    def _database(self, act: Act) -> str:
        places, postgres = self._places, self._postgres
        if postgres is None or places.database_away:
            return ""
        places.database_away = True
        if act.verb == "freeze":
            postgres.send_all(signal.SIGSTOP)
            back: Callable[[], None] = lambda: postgres.send_all(signal.SIGCONT)  # noqa: E731
        else:
            postgres.stop_at_once() if act.verb == "stop" else postgres.kill_all()
            back = postgres.start_again

        def again() -> None:
            back()
            places.database_away = False

        places.later(act.seconds, again)
        return "postgresql"

    def _everything(self, act: Act) -> str:
        """Let all stand still for longer than a lease, and go on in another order: a laptop that sleeps."""
        places = list(self._places.all.values())
        if not all(place.up for place in places):
            return ""
        Random(act.pick).shuffle(places)
        for number, place in enumerate(places):
            self._places.freeze(place, act.seconds + 0.05 * number, place.processes())
        return "everything"


def _resume(process: psutil.Process) -> None:
    try:
        process.resume()
    except psutil.NoSuchProcess:
        pass  # its agent has ended it meanwhile
