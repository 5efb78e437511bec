"""Stands between a store and PostgreSQL, and can lose the answer to a COMMIT, or the COMMIT itself."""

import socket
import threading
from contextlib import suppress
from typing import Literal

Fault = Literal["", "lose_commit", "lose_answer"]


class PostgresProxy:
    """Forwards one TCP port to the server's Unix socket; `fault` applies to the next COMMIT it sees."""

    def __init__(self, socket_directory: str) -> None:
        self.fault: Fault = ""
        self._target = f"{socket_directory}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            lost = threading.Event()
            self._start(self._forward_requests, client, server, lost)
            self._start(self._forward_answers, server, client, lost)

    def _forward_requests(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.fault and b"COMMIT" in data:
                    lost.set()
                    if self.fault == "lose_commit":
                        break
                server.sendall(data)
        _hang_up(client, server)

    def _forward_answers(self, server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if lost.is_set():
                    if b"COMMIT\0" in data:
                        break
                    continue
                client.sendall(data)
        _hang_up(client, server)


def _hang_up(*sockets: socket.socket) -> None:
    for end in sockets:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
