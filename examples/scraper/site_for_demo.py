"""A site to read: a tree of pages whose links cross, some of them dead, on a server that is sometimes busy.

``python site_for_demo.py [PORT]`` serves it.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

WORDS = ("queue", "state", "lease", "retry", "cache", "agent", "future", "session")
RULES = "User-agent: *\nDisallow: /private/\n"


class Site(ThreadingHTTPServer):
    """Serves a number of pages below a folder that is called like it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pages: int, port: int) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.pages = pages
        self.front = f"/{pages}-pages/"
        self.requests: Counter[str] = Counter()


class Answer(BaseHTTPRequestHandler):
    """One page in seven is busy when it is asked for the first time."""

    server: Site

    def do_GET(self) -> None:
        self.server.requests[self.path] += 1
        if self.path == "/robots.txt":
            self.answer(HTTPStatus.OK, RULES)
            return
        name = self.path.partition("?")[0].removeprefix(self.server.front) or "0"
        if not name.isdecimal() or int(name) >= self.server.pages:
            self.answer(HTTPStatus.NOT_FOUND, "There is nothing here.")
        elif int(name) % 7 == 3 and self.server.requests[self.path] == 1:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, "Come back later.")
        else:
            self.answer(HTTPStatus.OK, page(int(name), self.server.pages))

    def answer(self, status: HTTPStatus, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        with suppress(ConnectionError):  # whoever asked has gone
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def page(number: int, pages: int) -> str:
    """Return a page. Each is linked from another one; some links are long ways round, dead, or forbidden."""
    links = [str(child) for child in (2 * number + 1, 2 * number + 2) if child < pages]
    links += ["./", "./#top", f"{number * 3 % pages or './'}?utm_source=page{number}"]
    if number % 20 == 5:
        links += [f"gone-{number}", f"/private/{number}", "https://example.org/"]
    text = " ".join(WORDS[(number + word) % len(WORDS)] for word in range(20 + number % 30))
    anchors = "".join(f'<li><a href="{link}">more</a></li>' for link in links)
    return (
        f"<html><head><title>Page {number}</title></head><body><p>{text}</p><ul>{anchors}</ul></body></html>"
    )


@contextmanager
def serving(pages: int, port: int) -> Iterator[str]:
    """Serve from a thread of this process; yields the URL of the front page."""
    with Site(pages, port) as site:
        Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}{site.front}"
        site.shutdown()


if __name__ == "__main__":
    with Site(pages=60, port=int(sys.argv[1]) if sys.argv[1:] else 0) as site:
        print(f"http://127.0.0.1:{site.server_port}{site.front}", flush=True)
        site.serve_forever()
