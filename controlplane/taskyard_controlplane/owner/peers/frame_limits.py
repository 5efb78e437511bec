"""What a peer may put into one message beside its payload: numbers of things, and lengths of names.

Everything in a message is dealt with in one go on the event loop, and names stay as long as their peer. The
limits are far beyond what our own programs send; what is beyond them is a defect of the sender.
"""

from collections.abc import Sized
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.wire_text import NAME_LIMIT
from taskyard_controlplane.domain.namespaces import check_namespace

MAX_ITEMS: Final = 131_072
"""Ids, reports or log records of one kind in a frame. The SDK sends up to 69,632 ids."""
MAX_BATCH_RUNS: Final = 1_024
"""New runs, and templates, in a frame: about 10 ms of work. The SDK sends 512."""
FEW_BYTES: Final = 2 * MAX_BATCH_RUNS
"""A frame of so few bytes, as most are, has too much of nothing: each item takes two at least."""
MAX_DEFINED_BYTES: Final = 2 * 1024 * 1024
"""Templates and code in a frame. They are recorded in small parts and hashed, so they hold others up for
longer than as many bytes of arguments. The SDK sends one of 1 MiB, or as much of small ones."""
MAX_HELD: Final = 10_000
"""Runs that an agent restates: as much work again. Agents hold about 2,000."""
MAX_NAMES: Final = 1_024
"""Queues or capabilities of one agent."""
MAX_LABELS: Final = 4_096
"""Labels of one agent: listings show a part of them."""


def check_client_hello(hello: sp.SessionHello) -> None:
    """Check how a client introduces itself.

    Raises:
        InvalidRequest: Its name is too long.
        NamespaceNotFound: It is in none there is.
    """
    check_namespace(hello.namespace)
    _short("client_name", hello.client_name)


def check_agent_hello(hello: ap.AgentHello) -> None:
    """Check how an agent introduces itself.

    Raises:
        InvalidRequest: A name is too long, or there are too many of something.
        NamespaceNotFound: It is in none there is.
    """
    check_namespace(hello.namespace)
    for field, text in (
        ("agent_id", hello.agent_id), ("name", hello.name), ("agent_version", hello.agent_version),
    ):  # fmt: skip
        _short(field, text)
    if "\x00" in hello.agent_id:
        raise InvalidRequest("an agent id has no NUL: databases take none in a text")
    if len(hello.session_id) > NAME_LIMIT:
        raise InvalidRequest(f"a session id has at most {NAME_LIMIT} bytes", limit=NAME_LIMIT)
    _few("held", hello.held, MAX_HELD)
    _few("labels", hello.labels, MAX_LABELS)
    _few("queues", hello.queues, MAX_NAMES)
    _few("capabilities", hello.capabilities, MAX_NAMES)
    for field, names in (
        ("queues", hello.queues),
        ("capabilities", hello.capabilities),
        ("labels", [*hello.labels, *hello.labels.values()]),
    ):
        for name in names:
            _short(field, name)


def new_runs(batch: sp.SubmitBatch) -> int:
    """Return how many runs a batch submits."""
    return sum(len(group.run_ids) for group in batch.groups)


def check_client_frame(frame: sp.ClientFrame) -> None:
    """Check how much there is in a frame of a client.

    Raises:
        InvalidRequest: Too much of something.
    """
    if frame.HasField("submit"):
        batch = frame.submit
        for field, count in (
            ("runs", new_runs(batch)), ("groups", len(batch.groups)), ("templates", len(batch.templates)),
            ("blobs", len(batch.blobs)),
        ):  # fmt: skip
            _at_most(f"submit: {field}", count, MAX_BATCH_RUNS)
        _check_defined(batch)
    _few("subscribe", frame.subscribe)
    _few("cancel", frame.cancel)
    _few("withdraw", frame.withdraw)
    _few("flow_reports", frame.flow_reports)
    if frame.HasField("logs"):
        _few("logs", frame.logs.run_ids)


def _check_defined(batch: sp.SubmitBatch) -> None:
    """Check how many bytes of templates and code a batch brings.

    Raises:
        InvalidRequest: Too many.
    """
    size = sum(each.ByteSize() for each in batch.templates) + sum(each.ByteSize() for each in batch.blobs)
    if size > MAX_DEFINED_BYTES:
        raise InvalidRequest(
            f"submit: templates and blobs of a message have {size:,} bytes together, at most "
            f"{MAX_DEFINED_BYTES:,} are taken; send several messages, or upload blobs with BlobService",
            limit=MAX_DEFINED_BYTES,
        )


def check_agent_frame(frame: ap.AgentFrame | ap.ReportBatchRequest) -> None:
    """Check how much there is in a frame of an agent, or in a call that stands for one.

    Raises:
        InvalidRequest: Too much of something.
    """
    _few("reports", frame.reports)
    _few("started", frame.started)
    _few("given_back", frame.given_back)
    _few("lost", frame.lost)
    _few("cancelled", frame.cancelled)
    _few("progress", frame.progress)
    if frame.HasField("logs"):
        _few("logs", frame.logs.run_ids)


def _few(field: str, items: Sized, limit: int = MAX_ITEMS) -> None:
    _at_most(field, len(items), limit)


def _at_most(field: str, count: int, limit: int) -> None:
    if count > limit:
        raise InvalidRequest(
            f"{field}: a message has {count} of these, at most {limit} are taken; send several", limit=limit
        )


def _short(field: str, text: str) -> None:
    if len(text) * 4 > NAME_LIMIT and len(text.encode()) > NAME_LIMIT:
        raise InvalidRequest(f"{field}: a name has at most {NAME_LIMIT} bytes", limit=NAME_LIMIT)
