"""Logs of runs: read page by page, or as they grow.

Invariant: every record is printed once and in the server's order.
"""

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from taskyard.cli.views.documents import log_documents
from taskyard.cli.views.output import print_json

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import ListRunLogsResponse, TailRunLogsResponse

    Page = ListRunLogsResponse | TailRunLogsResponse


def pages(api: "Client", run_id: bytes, token: str = "") -> "Iterator[ListRunLogsResponse]":
    """Yield the pages of a log that exist now, from a token on, and say first if the beginning is gone."""
    while True:
        page = api.list_run_logs(run_id, token)
        if not token:
            print_removal(page)
        if not page.logs.messages:
            return
        yield page
        token = page.next_page_token


def print_page(page: "Page") -> None:
    """Print records as lines, as the SDK prints them on a console."""
    logs = page.logs
    for at_us, level, name, message in zip(
        logs.at_us, logs.levels, logs.run_names, logs.messages, strict=True
    ):
        at = datetime.fromtimestamp(at_us / 1_000_000).strftime("%H:%M:%S.%f")[:-3]
        print(f"{at} | {logging.getLevelName(level):<7} | {name} - {message}", flush=True)


def print_removal(page: "Page") -> None:
    """Say, beside what is printed, that the beginning of a log is gone."""
    if page.removed_before_us:
        at = datetime.fromtimestamp(page.removed_before_us / 1_000_000, UTC)
        print(
            f"taskyard: what was logged before {at:%Y-%m-%d %H:%M} UTC was removed by retention",
            file=sys.stderr,
        )


def print_json_lines(page: "Page") -> None:
    """Print records as one JSON document a line."""
    for record in log_documents(page):
        print_json(record, lines=True)
