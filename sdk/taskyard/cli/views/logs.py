"""Logs of runs: read page by page, and followed until the run has ended.

Invariant: every record is printed once and in the server's order. Following asks the server to wait for the
run's end rather than asking again and again.
"""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from taskyard.cli.views.documents import log_documents
from taskyard.cli.views.output import print_json
from taskyard_contract.errors import ServerStopping
from taskyard_contract.states import FIRST_FINAL

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import ListRunLogsResponse, Run

LOOK_SECONDS: Final = 0.5
"""How long a new record may remain unseen."""
LATE_SECONDS: Final = 1.0
"""How long records may arrive after the end of their run: they travel apart from it."""


def pages(api: "Client", run_id: bytes, token: str = "") -> "Iterator[ListRunLogsResponse]":
    """Yield the pages of a log that exist now, from a token on."""
    while True:
        page = api.list_run_logs(run_id, token)
        if not page.logs.messages:
            return
        yield page
        token = page.next_page_token


def follow(api: "Client", run_id: bytes, show: "Callable[[ListRunLogsResponse], None]") -> "Run":
    """Show a log as it grows; returns the run once it has ended."""
    token = ""
    while True:
        for page in pages(api, run_id, token):
            show(page)
            token = page.next_page_token
        try:
            run = api.wait_run(run_id, LOOK_SECONDS)
        except ServerStopping as error:
            # The next call finds the server after this one, or nobody: the run has not failed.
            time.sleep(error.retry_after)
            continue
        if run.state >= FIRST_FINAL:
            break
    time.sleep(LATE_SECONDS)
    for page in pages(api, run_id, token):
        show(page)
    return run


def print_page(page: "ListRunLogsResponse") -> None:
    """Print records as lines, as the SDK prints them on a console."""
    logs = page.logs
    for at_us, level, name, message in zip(
        logs.at_us, logs.levels, logs.run_names, logs.messages, strict=True
    ):
        at = datetime.fromtimestamp(at_us / 1_000_000).strftime("%H:%M:%S.%f")[:-3]
        print(f"{at} | {logging.getLevelName(level):<7} | {name} - {message}", flush=True)


def print_json_lines(page: "ListRunLogsResponse") -> None:
    """Print records as one JSON document a line."""
    for record in log_documents(page):
        print_json(record, lines=True)
