"""Templates as they are sent and stored -> records."""

import math
from typing import Final

from google.protobuf.message import DecodeError

from taskyard_api.v1 import template_pb2
from taskyard_contract import capabilities
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.payload_limits import MAX_LABEL_BYTES, MAX_OPTIONS_BYTES
from taskyard_contract.states import RunKind
from taskyard_contract.wire_text import NAME_LIMIT
from taskyard_controlplane.domain.matching import Labels
from taskyard_controlplane.domain.model import AGENT, Template, executor_of
from taskyard_controlplane.domain.retries import LONGEST_DELAY
from taskyard_controlplane.storage.interface import TemplateRow

DEFAULT_INFRA_RETRIES: Final = 3
"""Of runs whose worker or agent is lost: a node that goes takes a run along once, a run that kills its worker
must not go round for ever."""
LONGEST_MS: Final = int(LONGEST_DELAY * 1000)
"""A thousand years: what is longer could not be added to a time of today."""
CODE_KINDS: Final = {
    "blob_digest": capabilities.CODE_BY_VALUE,
    "reference": capabilities.CODE_BY_REFERENCE,
    "task_name": capabilities.CODE_BY_NAME,
}
"""What an agent must have announced, by where the code of a template is."""
MAX_TEMPLATE_BYTES: Final = 32 * 1024
"""Of a definition: names, tags, labels, times of retries. What is larger belongs into arguments or code."""
_DIGEST_BYTES: Final = 32
MAX_VARIABLES: Final = 1_024
"""Whose names a template may have."""
MAX_DELAYS: Final = 1_000
"""Of retries that are given one by one; the last one counts for all further ones."""


def read_template(
    template_id: int, digest: bytes, definition: bytes, parsed: template_pb2.RunTemplate | None = None
) -> Template:
    """Make the record of a template from its serialised message, which may be parsed already.

    Raises:
        InvalidRequest: It has no kind, no name or no queue, or one that cannot be stored, or labels that
            are too long or not printable.
    """
    message = parsed or template_pb2.RunTemplate.FromString(definition)
    kind = int(message.kind)
    if kind not in (RunKind.TASK, RunKind.FLOW) or not message.name:
        field = "template.name" if kind in (RunKind.TASK, RunKind.FLOW) else "template.kind"
        raise InvalidRequest("a template needs a kind and a name", field=field)
    if "\x00" in message.queue:
        raise InvalidRequest(
            f"the queue {message.queue!r} has a NUL in its name, which cannot be stored",
            field="template.queue",
        )
    template = Template(
        template_id,
        digest,
        definition,
        kind=kind,
        name=message.name,
        queue=message.queue,
        priority=message.priority,
        encoding=message.encoding,
        result_encoding=message.result_encoding,
        task_name=message.code.task_name,
        python_version=message.python_version,
        environment=message.environment,
        code=CODE_KINDS.get(message.code.WhichOneof("location") or "", ""),
        code_digest=message.code.blob_digest,
        labels=_labels(message),
        world=(message.world.id, message.world.revision) if message.world.variables else None,
        coroutine=message.coroutine,
        served_as=message.served_as,
        max_retries=message.retry.max_retries,
        delays=tuple(min(delay, LONGEST_MS) / 1000 for delay in message.retry.delays_ms),
        jitter=_jitter(message.retry.jitter_factor),
        max_infra_retries=message.max_infra_retries or DEFAULT_INFRA_RETRIES,
        cache_expiration_us=min(message.cache_expiration_ms, LONGEST_MS) * 1000,
        refresh_cache=message.refresh_cache,
    )
    if template.executor == AGENT and not template.queue:
        raise InvalidRequest(f"the template of task '{message.name}' names no queue", field="template.queue")
    return template


def read_stored(row: TemplateRow) -> Template:
    """Make the record of a template that an earlier release, or this one, has recorded.

    Whatever is wrong with it by today's rules stops no server: it is refused to whoever submits it again, and
    its runs end with that as their reason.
    """
    try:
        return read_template(row.template_id, row.digest, row.definition)
    except (InvalidRequest, DecodeError) as error:
        template = Template(row.template_id, row.digest, row.definition, name=row.name or "unnamed")
        template.refusal = InvalidRequest(f"this release does not take the template '{row.name}': {error}")
        return template


def parsed_new(definition: bytes) -> template_pb2.RunTemplate:
    """Check what new templates have to keep to beyond those of earlier releases; returns the message.

    Raises:
        InvalidRequest: It is too large, a number is none, or a name is longer than databases index, and than
            whoever looks for it may say.
    """
    if len(definition) > MAX_TEMPLATE_BYTES:
        raise InvalidRequest(
            f"a template has {len(definition):,} bytes; at most {MAX_TEMPLATE_BYTES:,} are taken",
            limit=MAX_TEMPLATE_BYTES,
            field="template",
        )
    message = template_pb2.RunTemplate.FromString(definition)
    delays = len(message.retry.delays_ms)
    if delays > MAX_DELAYS:
        raise InvalidRequest(
            f"'{message.name}' has {delays:,} delays of retries; at most {MAX_DELAYS:,} are taken",
            limit=MAX_DELAYS,
            field="template.retry.delays_ms",
        )
    _check_world(message)
    _check_supported(message)
    _check_code(message)
    jitter = message.retry.jitter_factor
    if not 0 <= jitter < math.inf:
        raise InvalidRequest(
            f"'{message.name}' has the jitter factor {jitter}; it lies between 0 and 1",
            field="template.retry.jitter_factor",
        )
    for what, text, field in (
        ("itself", message.name, "name"),
        ("task key", message.task_key, "task_key"),
        ("queue", message.queue, "queue"),
        ("encoding", message.encoding, "encoding"),
        ("result encoding", message.result_encoding, "result_encoding"),
        ("task", message.code.task_name, "code.task_name"),
        ("Python version", message.python_version, "python_version"),
        ("environment", message.environment, "environment"),
        ("what it is served as", message.served_as, "served_as"),
    ):
        size = len(text.encode())
        if size > NAME_LIMIT or "\x00" in text:
            raise InvalidRequest(
                f"'{message.name[:80]}' names {what} {text[:40]!r}; it has {size:,} bytes, at most "
                f"{NAME_LIMIT:,} without a NUL are taken",
                limit=NAME_LIMIT,
                field=f"template.{field}",
            )
    return message


def _check_world(message: template_pb2.RunTemplate) -> None:
    variables = len(message.world.variables)
    if variables > MAX_VARIABLES:
        raise InvalidRequest(
            f"'{message.name}' names {variables:,} variables; at most {MAX_VARIABLES:,} are taken",
            limit=MAX_VARIABLES,
            field="template.world.variables",
        )
    if len(message.world.options) > MAX_OPTIONS_BYTES:
        raise InvalidRequest(
            f"'{message.name}' has {len(message.world.options):,} bytes of options; at most "
            f"{MAX_OPTIONS_BYTES:,} are taken",
            limit=MAX_OPTIONS_BYTES,
            field="template.world.options",
        )


def _check_supported(message: template_pb2.RunTemplate) -> None:
    """Check that a template asks for nothing that this release would not do.

    Raises:
        InvalidRequest: It does: to leave it out in silence would be another task.
    """
    if message.executor and int(message.executor) != executor_of(int(message.kind)):
        raise InvalidRequest(
            f"'{message.name}' names an executor that runs of its kind do not have: agents execute task "
            "runs, and sessions flow runs",
            field="template.executor",
        )
    if message.concurrency_keys:
        raise InvalidRequest(
            f"'{message.name}' has concurrency keys, which this release does not support",
            field="template.concurrency_keys",
        )


def _check_code(message: template_pb2.RunTemplate) -> None:
    location = message.code.WhichOneof("location")
    if location is None:
        return
    size = len(getattr(message.code, location))
    if not size or (location == "blob_digest" and size != _DIGEST_BYTES):
        needed = f"a SHA-256 has {_DIGEST_BYTES}" if location == "blob_digest" else "say where the code is"
        raise InvalidRequest(
            f"'{message.name}' names code with {size} bytes in {location}; {needed}",
            field=f"template.code.{location}",
        )


def encoding_in(definition: bytes) -> str:
    """Return in which encoding the runs of a recorded template return bare results."""
    try:
        message = template_pb2.RunTemplate.FromString(definition)
        return str(message.result_encoding or message.encoding)
    except DecodeError:
        return ""


def _jitter(factor: float) -> float:
    """Return the factor that delays are drawn with: earlier releases recorded any number, or none."""
    return min(factor, 1.0) if factor > 0 else 0.0


def _labels(message: template_pb2.RunTemplate) -> Labels:
    labels = dict(message.agent_labels)
    texts = [*labels, *labels.values()]
    unprintable = next((text for text in texts if not text.isprintable()), None)
    if unprintable is not None:
        raise InvalidRequest(
            f"'{message.name}' asks for agents with a label that is no text: {unprintable!r}",
            field="template.agent_labels",
        )
    size = sum(len(text.encode()) for text in texts)
    if size > MAX_LABEL_BYTES:
        raise InvalidRequest(
            f"'{message.name}' asks for labels of {size:,} bytes; at most {MAX_LABEL_BYTES:,} are taken",
            limit=MAX_LABEL_BYTES,
            field="template.agent_labels",
        )
    return frozenset(labels.items())
