"""The log of a run as programs read it."""

from collections.abc import Iterator
from datetime import UTC, datetime

from taskyard._data.runs.recorded import RunLogs
from taskyard_api.v1.session_service_pb2 import LogBatch

AT_US = 1_700_000_000_000_000


def part(*messages: str) -> LogBatch:
    count = len(messages)
    return LogBatch(
        run_ids=[b"r" * 16] * count, run_names=["run"] * count, at_us=[AT_US] * count, levels=[20] * count,
        loggers=["logger"] * count, messages=messages,
    )  # fmt: skip


def test_records_come_in_order_over_parts_that_may_be_empty() -> None:
    logs = RunLogs(iter([(part("one", "two"), 0), (part(), 0), (part("three"), 0)]))
    assert [record.message for record in logs] == ["one", "two", "three"]
    assert logs.removed_before is None


def test_what_was_removed_is_told_before_and_after_the_records_were_read() -> None:
    asked: list[int] = []

    def parts() -> Iterator[tuple[LogBatch, int]]:
        asked.append(1)
        yield part("late"), AT_US
        yield part(), 0

    logs = RunLogs(parts())
    assert asked == [], "nothing is asked for before somebody wants to know"
    assert logs.removed_before == datetime.fromtimestamp(AT_US / 1e6, UTC)
    assert [record.message for record in logs] == ["late"]
    assert logs.removed_before == datetime.fromtimestamp(AT_US / 1e6, UTC)


def test_a_log_without_records_says_that_they_were_removed() -> None:
    assert RunLogs(iter([(part(), AT_US)])).removed_before is not None
    assert RunLogs(iter([])).removed_before is None
