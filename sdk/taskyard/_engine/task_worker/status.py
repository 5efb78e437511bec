"""What a program that serves tasks says of itself over HTTP, to whoever looks after it on its machine."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

logger = logging.getLogger("taskyard.task_worker")


@contextmanager
def status_server(status: Callable[[], dict[str, Any]], port: int) -> Iterator[int]:
    """Answer ``GET /status`` on 127.0.0.1 meanwhile.

    Args:
        status: Returns what to answer, as JSON has it.
        port: Where; 0 for any that is free.

    Yields:
        The port.

    Raises:
        OSError: Somebody else has the port.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(status))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="taskyard-status", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(status: Callable[[], dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request after the other of a connection."""

        def do_GET(self) -> None:
            found = self.path.partition("?")[0].rstrip("/") == "/status"
            body = json.dumps(status() if found else {"error": "ask for /status"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug("status: %s", format % args)

    return Handler
