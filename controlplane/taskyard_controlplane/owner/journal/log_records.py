"""Log records as they come in: from columns to records, with texts of bounded length whoever wrote them."""

from collections.abc import Iterator
from itertools import chain, repeat

from taskyard_api.v1.session_service_pb2 import LogBatch
from taskyard_contract.wire_text import LOG_LIMIT, NAME_LIMIT, bounded
from taskyard_controlplane.domain.retries import LATEST_US

Record = tuple[bytes, int, int, str, str, str]
"""Run id, time, level, logger, message, name of the run as its writer knows it."""


def log_records(logs: LogBatch) -> Iterator[Record]:
    """Iterate over the records of a batch: texts cut to what is kept of them, times to dates there are."""
    columns = zip(
        logs.run_ids,
        logs.at_us,
        logs.levels,
        logs.loggers,
        logs.messages,
        chain(logs.run_names, repeat("")),
        strict=False,
    )
    for run_id, at_us, level, logger, message, name in columns:
        yield (
            run_id,
            min(max(at_us, 0), LATEST_US),
            level,
            bounded(logger, NAME_LIMIT),
            bounded(message, LOG_LIMIT),
            bounded(name, NAME_LIMIT),
        )
