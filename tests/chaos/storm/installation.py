"""The installation that a storm goes over: a control plane, agents, clients, and their files."""

from pathlib import Path
from typing import Final

from chaos.storm.places import Place, Places
from chaos.storm.plan import AGENT_LEASE, SESSION_LEASE, Plan
from support.processes import Child, Installation

GRACE_SECONDS: Final = 2.0
"""For what executes when an agent is told to end: some long runs are longer."""


class StormyInstallation:
    """All processes of a storm, each at its place."""

    def __init__(self, plan: Plan, folder: Path, database: str, places: Places) -> None:
        self.plan = plan
        self.folder = folder
        self.database = database
        self.places = places
        self.executions = folder / "executions"
        self.end = folder / "end"
        self._processes = Installation(folder, database, agent_lease=AGENT_LEASE, session_lease=SESSION_LEASE)

    def start(self) -> None:
        """Start everything; nothing is waited for."""
        self.places.add(Place("server", "server", self._server))
        for number in range(self.plan.agents):
            self.places.add(Place(f"a{number}", "agent", self._agent))
        for number in range(self.plan.clients):
            self.places.add(Place(f"c{number}", "client", self._client))

    def journal(self, who: str) -> Path:
        """Where a process of a client writes what it knows."""
        return self.folder / f"journal-{who}"

    def metric(self, name: str) -> float:
        """Return what the control plane says of itself."""
        return self._processes.metric(name)

    def close(self) -> None:
        """Kill everything."""
        for place in self.places.all.values():
            self.places.thaw(place)
        self._processes.end()

    def _server(self, place: Place) -> Child:
        return self._processes.spawn_server("--http", self._processes.http)

    def _agent(self, place: Place) -> Child:
        command = ["-m", "taskyard_agent", "--server", self._processes.address, "--name", place.name]
        options = ["--slots", self.plan.slots, "--grace", GRACE_SECONDS]
        return self._processes.start(
            place.who, *command, *options, EXECUTIONS=str(self.executions), STORM_AGENT=place.who
        )

    def _client(self, place: Place) -> Child:
        seed = f"{self.plan.seed} {place.who}"
        command = ["-m", "chaos.storm.client", place.name, seed, self.journal(place.who), self.end]
        return self._processes.start(place.who, *command, EXECUTIONS=str(self.executions))
