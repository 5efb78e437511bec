"""A web service with orders that is often busy, and careless with its data: ``python service.py [PORT]``."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

CUSTOMERS = ("Ada", "Grace", "Barbara", "Frances", "Radia")
WRONG = ({"cents": -1}, {"customer": ""}, {"day": "yesterday"})


class Service(ThreadingHTTPServer):
    """Serves `pages` pages with `rows` rows each."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pages: int, rows: int, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.pages, self.rows = pages, rows
        self.requests: Counter[str] = Counter()


class Answer(BaseHTTPRequestHandler):
    """`/orders` says how many pages there are, `/orders/N` has the rows of one."""

    server: Service

    def do_GET(self) -> None:
        self.server.requests[self.path] += 1
        page = self.path.removeprefix("/orders/")
        if self.path == "/orders":
            self.answer(HTTPStatus.OK, {"pages": self.server.pages})
        elif not page.isdecimal() or int(page) >= self.server.pages:
            self.answer(HTTPStatus.NOT_FOUND, {"error": f"no {self.path} here"})
        elif int(page) % 3 == 0 and self.server.requests[self.path] % 3 != 0:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "busy"})
        else:
            first = int(page) * self.server.rows
            self.answer(HTTPStatus.OK, [order(number) for number in range(first, first + self.server.rows)])

    def answer(self, status: HTTPStatus, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        with suppress(ConnectionError):  # whoever asked has gone
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def order(number: int) -> dict[str, Any]:
    """Return a row; one in 37 is wrong."""
    row = {
        "id": number,
        "customer": CUSTOMERS[number % len(CUSTOMERS)],
        "day": (date(2026, 1, 1) + timedelta(days=number % 365)).isoformat(),
        "cents": 100 + number * 7919 % 50_000,
    }
    return row | WRONG[number % len(WRONG)] if number % 37 == 0 else row


@contextmanager
def serving(pages: int, rows: int) -> Iterator[str]:
    """Serve from a thread of this process; yields the URL."""
    with Service(pages, rows) as service:
        Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()


if __name__ == "__main__":
    with Service(pages=20, rows=50, port=int(sys.argv[1]) if sys.argv[1:] else 0) as service:
        print(f"http://127.0.0.1:{service.server_port}", flush=True)
        service.serve_forever()
