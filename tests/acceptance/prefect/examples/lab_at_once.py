"""The same requests at once, by `submit`.

Logs:
    Created task run 'get_url-1' for task 'get_url'
    Submitted task run 'get_url-1' for execution
    Submitted task run 'get_url-3' for execution
    Task run 'get_url-[123]' - Finished in state Completed\\(\\)
    INFO .* Flow run '[a-z-]+' - Open issues of each: 1.67
    INFO .* Flow run '[a-z-]+' - Finished in state Completed\\(\\)
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
    with urlopen(url) as response:
        return json.load(response)


def get_open_issues(url, open_issues_count, per_page=2):
    pages = range(1, -(open_issues_count // -per_page) + 1)
    issues = [get_url.submit(f"{url}/issues?page={page}") for page in pages]
    return [issue for page in issues for issue in page.result()]


@flow(retries=3, retry_delay_seconds=5, log_prints=True)
def get_repo_info(url):
    repository = get_url(url)
    issues = get_open_issues(url, repository["open_issues_count"])
    each = len(issues) / len({issue["user"]["id"] for issue in issues})
    print("Stars:", repository["stargazers_count"])
    print(f"Open issues of each: {each:.2f}")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    Thread(target=server.serve_forever, daemon=True).start()
    get_repo_info(f"http://127.0.0.1:{server.server_port}/repos/people/project")
    server.shutdown()
