"""What a peer may put into one message beside its payload: numbers of things, and lengths of names.

Everything in a message is dealt with in one go on the event loop, and names stay as long as their peer. The
limits are far beyond what our own programs send; what is beyond them is a defect of the sender.
"""

from collections.abc import Iterable, Sized
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.payload_limits import MAX_VARIABLE_BYTES
from taskyard_contract.wire_text import MESSAGE_LIMIT, NAME_LIMIT
from taskyard_controlplane.domain.namespaces import check_namespace
from taskyard_controlplane.owner.peers.program_worlds import variable_bytes

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
MAX_OFFERS: Final = 1_024
"""Tasks that one agent has registered by name."""
MAX_OFFER_ENCODINGS: Final = 64
"""Encodings of one of them."""
MAX_SCHEMA_BYTES: Final = 16 * 1024
"""A JSON Schema of the arguments, or of the result, of a task."""
MAX_WORLDS: Final = 1_024
"""Worlds that a client announces in a frame."""
MAX_HELLO_BYTES: Final = 4 * 1024 * 1024
"""Of all that an agent says of itself: it is kept as long as the agent is known."""


def check_client_hello(hello: sp.SessionHello) -> None:
    """Check how a client introduces itself.

    Raises:
        InvalidRequest: Its name is too long.
        NamespaceNotFound: It is in none there is.
    """
    check_namespace(hello.namespace)
    _short("hello.client_name", hello.client_name)


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
        _short(f"hello.{field}", text)
    if "\x00" in hello.agent_id:
        raise InvalidRequest("an agent_id has no NUL: databases take none in a text", field="hello.agent_id")
    if len(hello.session_id) > NAME_LIMIT:
        raise InvalidRequest(
            f"a session_id has at most {NAME_LIMIT} bytes", limit=NAME_LIMIT, field="hello.session_id"
        )
    _few("hello.held", hello.held, MAX_HELD)
    _few("hello.labels", hello.labels, MAX_LABELS)
    _few("hello.queues", hello.queues, MAX_NAMES)
    _few("hello.capabilities", hello.capabilities, MAX_NAMES)
    _few("hello.tasks", hello.tasks, MAX_OFFERS)
    _few("hello.serves", hello.serves, MAX_OFFERS)
    _all_short("hello.queues", hello.queues)
    _all_short("hello.capabilities", hello.capabilities)
    _all_short("hello.serves", hello.serves)
    for text in (*hello.labels, *hello.labels.values()):
        _short("hello.labels", text)
    _check_offers(hello.tasks)
    size = hello.ByteSize()
    if size > MAX_HELLO_BYTES:
        raise InvalidRequest(
            f"hello: it has {size:,} bytes, at most {MAX_HELLO_BYTES:,} are taken; say less of tasks, labels",
            limit=MAX_HELLO_BYTES,
            field="hello",
        )


def _check_offers(offers: Iterable[ap.TaskOffer]) -> None:
    names: set[str] = set()
    for position, offer in enumerate(offers):
        where = f"hello.tasks[{position}]"
        if not offer.name or offer.name in names:
            what = f"{offer.name[:80]!r} is there twice" if offer.name else "it is empty"
            raise InvalidRequest(f"{where}.name: {what}", field=f"{where}.name")
        names.add(offer.name)
        _short(f"{where}.name", offer.name)
        _short(f"{where}.version", offer.version)
        _few(f"{where}.encodings", offer.encodings, MAX_OFFER_ENCODINGS)
        _all_short(f"{where}.encodings", offer.encodings)
        _short(f"{where}.description", offer.description, MESSAGE_LIMIT)
        _short(f"{where}.parameter_schema", offer.parameter_schema, MAX_SCHEMA_BYTES)
        _short(f"{where}.result_schema", offer.result_schema, MAX_SCHEMA_BYTES)


def new_runs(batch: sp.SubmitBatch) -> int:
    """Return how many runs a batch submits."""
    return sum(len(group.run_ids) for group in batch.groups)


def defined_bytes(batch: sp.SubmitBatch) -> int:
    """Return how many bytes of templates and code a batch brings."""
    return sum(each.ByteSize() for each in batch.templates) + sum(each.ByteSize() for each in batch.blobs)


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
            _at_most(f"submit.{field}", count, MAX_BATCH_RUNS)
        if batch.templates or batch.blobs:
            _check_defined(batch)
    _few("subscribe", frame.subscribe)
    _few("cancel", frame.cancel)
    _few("withdraw", frame.withdraw)
    _few("flow_reports", frame.flow_reports)
    if frame.HasField("logs"):
        _few("logs", frame.logs.run_ids)
    if frame.worlds:
        _few("worlds", frame.worlds, MAX_WORLDS)
        _check_worlds(frame.worlds)


def _check_worlds(worlds: Iterable[sp.ProgramWorld]) -> None:
    for position, world in enumerate(worlds):
        size = variable_bytes(world.variables)
        if size > MAX_VARIABLE_BYTES:
            raise InvalidRequest(
                f"worlds[{position}].variables: they have {size:,} bytes, at most {MAX_VARIABLE_BYTES:,} are "
                "taken; hand fewer variables over, or have the agents' own environment hold them",
                limit=MAX_VARIABLE_BYTES,
                field=f"worlds[{position}].variables",
            )


def _check_defined(batch: sp.SubmitBatch) -> None:
    """Check how many bytes of templates and code a batch brings.

    Raises:
        InvalidRequest: Too many.
    """
    size = defined_bytes(batch)
    if size > MAX_DEFINED_BYTES:
        raise InvalidRequest(
            f"submit: templates and blobs of a message have {size:,} bytes together, at most "
            f"{MAX_DEFINED_BYTES:,} are taken; send several messages, or upload blobs with BlobService",
            limit=MAX_DEFINED_BYTES,
            field="submit.blobs" if batch.blobs else "submit.templates",
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
    if frame.HasField("output"):
        _few("output", frame.output.run_ids)


def _few(field: str, items: Sized, limit: int = MAX_ITEMS) -> None:
    _at_most(field, len(items), limit)


def _at_most(field: str, count: int, limit: int) -> None:
    if count > limit:
        raise InvalidRequest(
            f"{field}: a message has {count} of these, at most {limit} are taken; send several",
            limit=limit,
            field=field,
        )


def _all_short(field: str, texts: Iterable[str]) -> None:
    for position, text in enumerate(texts):
        if len(text) * 4 > NAME_LIMIT:
            _short(f"{field}[{position}]", text)


def check_name(field: str, text: str) -> str:
    """Return a name that somebody has made up.

    Raises:
        InvalidRequest: It is too long.
    """
    _short(field, text)
    return text


def _short(field: str, text: str, limit: int = NAME_LIMIT) -> None:
    if len(text) * 4 > limit and len(text.encode()) > limit:
        raise InvalidRequest(f"{field}: it has at most {limit:,} bytes", limit=limit, field=field)
