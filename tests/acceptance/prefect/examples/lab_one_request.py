"""A flow that asks a service by a task and prints into its log.

Logs:
    DEBUG .* taskyard.engine - Created flow run '[a-z-]+' for flow 'get-repo-info'
    INFO .* Flow run '[a-z-]+' - Beginning flow run '[a-z-]+' for flow 'get-repo-info'
    Created task run 'get_url-0' for task 'get_url'
    Flow run '[a-z-]+' - Executing 'get_url-0' immediately\\.\\.\\.
    Task run 'get_url-0' - Finished in state Completed\\(\\)
    INFO .* Flow run '[a-z-]+' - people/project statistics:
    INFO .* Flow run '[a-z-]+' - Stars: 12157
    INFO .* Flow run '[a-z-]+' - Forks 🍴 : 1251
    INFO .* Flow run '[a-z-]+' - Finished in state Completed\\(\\)
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from taskyard import flow, task


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


@task
def get_url(url):
    with urlopen(url) as response:
        return json.load(response)


@flow(name="get-repo-info", retries=3, retry_delay_seconds=5, log_prints=True)
def get_repo_info(url):
    repository = get_url(url)
    print("people/project statistics:")
    print("Stars:", repository["stargazers_count"])
    print("Forks 🍴 :", repository["forks_count"])


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    Thread(target=server.serve_forever, daemon=True).start()
    get_repo_info(f"http://127.0.0.1:{server.server_port}/repos/people/project")
    server.shutdown()
