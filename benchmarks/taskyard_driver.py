"""Drives Taskyard; what only it is measured by is asked of it in processes of their own.

Their SDK has known no other server.
"""

from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.drive import drive, emit, leave_cleanly_when_terminated
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.taskyard_system import TaskyardSystem
from benchmarks.workloads import w5_drain, w6_uploads, w7_sessions, w9_recovery

OWN: Final[dict[str, Callable[[TaskyardSystem, Settings], Iterator[Result]]]] = {
    "W6-uploads": w6_uploads.run,
    "W7": w7_sessions.run,
    "W9": w9_recovery.run,
}


def main() -> None:
    """Measure what the environment asks for."""
    settings = Settings.from_environment()
    drive(TaskyardSystem(settings.database))
    if "W5" in settings.workloads:
        if len(settings.queued) > 1:
            raise SystemExit("QUEUED: a driver measures one length; python -m benchmarks starts one for each")
        leave_cleanly_when_terminated()
        system = TaskyardSystem(settings.database)
        emit(system, "W5", w5_drain.run(system, settings.queued[0]))
    for name, workload in OWN.items():
        if name in settings.workloads:
            leave_cleanly_when_terminated()
            system = TaskyardSystem(settings.database)
            emit(system, name, workload(system, settings))


if __name__ == "__main__":
    main()
