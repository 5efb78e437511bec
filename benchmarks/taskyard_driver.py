"""Drives Taskyard; W5 is asked of it in a process of its own, whose SDK has known no other server."""

from benchmarks.drive import drive, emit, leave_cleanly_when_terminated
from benchmarks.settings import Settings
from benchmarks.taskyard_system import TaskyardSystem
from benchmarks.workloads import w5_drain


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


if __name__ == "__main__":
    main()
