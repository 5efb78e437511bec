"""Drives Celery: a prefork worker of two processes, broker and results in a Redis that fsyncs every write."""

# mypy: disable-error-code="import-not-found,import-untyped"
import os
import shutil
import sys
from typing import Any

from benchmarks.drive import drive
from benchmarks.processes import free_port, wait_for_port
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.systems import Program, System, client_program, roles_of_descendants

WORKERS = 2
_REDIS = ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""]


def _role(command: str) -> str:
    return "control_plane" if "redis-server" in command else "workers"


class CelerySystem(System):
    """Celery has no future that can be an argument: map and reduce are its chord."""

    name = "celery"
    packages = ("celery", "redis")
    most_bulk = 2_000

    def __init__(self) -> None:
        super().__init__()
        self._tasks: Any = None
        self._url = ""

    def start(self) -> None:
        port = free_port()
        folder = ["--dir", str(self.processes.folder)]
        self.processes.start("redis", ["redis-server", "--port", str(port), *folder, *_REDIS])
        wait_for_port(port)
        self._url = f"redis://127.0.0.1:{port}"
        os.environ["BENCH_REDIS"] = self._url
        pool = ["--pool", "prefork", "--concurrency", str(WORKERS), "--without-gossip", "--without-mingle"]
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app", "worker", *pool]
        self.processes.start("worker", [*command, "--loglevel", "INFO"]).wait_ready(r" ready\.")
        from benchmarks.peers import celery_app  # reads the address when it is imported

        self._tasks = celery_app

    def bulk(self, variant: str, n: int) -> None:
        from celery import group

        if variant == "map":
            group(self._tasks.noop.s(value) for value in range(n)).apply_async().get()
            return
        for result in [self._tasks.noop.delay(value) for value in range(n)]:
            result.get()

    def round_trip(self, value: int) -> int:
        answer: int = self._tasks.identity.delay(value).get()
        return answer

    def map_reduce(self, width: int) -> int:
        from celery import chord

        parts = [self._tasks.identity.s(value) for value in range(width)]
        answer: int = chord(parts)(self._tasks.total.s()).get()
        return answer

    def roles(self) -> dict[str, list[int]]:
        return roles_of_descendants(_role)

    def settings(self) -> dict[str, str]:
        return {
            "durability": "Redis appendonly yes, appendfsync always; late acknowledgement by workers",
            "workers": f"prefork, {WORKERS} processes, prefetch multiplier 4 (the default)",
            "map_reduce": "chord",
        }

    def first_result_up(self) -> Program:
        return Program(client_program("celery_client"), {"BENCH_REDIS": self._url})


def main() -> None:
    """Drive Celery, or say in the results what is missing."""
    if shutil.which("redis-server"):
        drive(CelerySystem())
        return
    why = "redis-server is not installed: apt-get install redis-server"
    for workload in Settings.from_environment().workloads:
        if workload != "W5":
            print(Result(workload, "celery", "skipped", 0, "none", skipped=why).to_json(), flush=True)


if __name__ == "__main__":
    main()
