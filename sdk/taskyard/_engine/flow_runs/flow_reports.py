"""The messages in which a process reports what happened to its flow runs.

Invariant: a value that cannot be recorded is left out; it is still what the caller of the flow gets.
"""

import logging
import time
from typing import Any

from taskyard._data.runs.state import is_state, is_state_iterable
from taskyard._network.session.session import Session
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.encodings import PICKLE, encode
from taskyard_contract.states import FlowEvent
from taskyard_contract.wire_text import cut

logger = logging.getLogger("taskyard.flows")


def report_of(run_id: bytes, attempt: int, event: FlowEvent, message: str = "") -> pb.FlowReport:
    """Return a report about an attempt of a flow run, as of now."""
    return pb.FlowReport(
        run_id=run_id,
        attempt=attempt,
        event=event,  # type: ignore[arg-type]  # the enums are numerically equal
        occurred_us=time.time_ns() // 1000,
        message=cut(message),
    )


def flow_payload(value: Any, session: Session) -> common_pb2.Payload | None:
    """Return a flow's value as a payload, or None if there is nothing to record."""
    if is_state(value) or is_state_iterable(value):
        return None  # its runs are recorded themselves
    try:
        data = encode(value)
    except Exception as error:  # pickling runs foreign code, which may raise anything
        logger.debug("the value of a flow run is not recorded, it cannot be pickled: %s", error)
        return None
    if len(data) <= session.max_inline_bytes:
        return common_pb2.Payload(encoding=PICKLE, data=data)
    if len(data) > session.max_payload_bytes:
        logger.debug("the value of a flow run is not recorded, it takes %d bytes", len(data))
        return None
    return common_pb2.Payload(encoding=PICKLE, blob=session.client().upload(data))
