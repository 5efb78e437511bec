"""The request is cached for an hour: the second flow run makes none.

Prints:
    asking
    12157
    12157
"""

import json
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from taskyard import flow, task
from taskyard.tasks import task_input_hash


class Repository(BaseHTTPRequestHandler):
    """Stands for the service: a repository with five open issues of three people, two on a page."""

    def do_GET(self):
        address = urlsplit(self.path)
        page = int(parse_qs(address.query).get("page", ["1"])[0])
        issues = [{"user": {"id": one % 3}} for one in range(5)]
        counts = {"stargazers_count": 12157, "forks_count": 1251, "open_issues_count": len(issues)}
        body = json.dumps(issues[2 * page - 2 : 2 * page] if "issues" in address.path else counts)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(hours=1))
def get_url(url):
    print("asking")
    with urlopen(url) as response:
        return json.load(response)


@flow
def get_repo_info(url):
    print(get_url(url)["stargazers_count"])


def twice(url):
    get_repo_info(url)
    get_repo_info(url)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    Thread(target=server.serve_forever, daemon=True).start()
    twice(f"http://127.0.0.1:{server.server_port}/repos/people/project")
    server.shutdown()
