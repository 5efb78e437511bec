"""Log records in one shape, and what of them a frame cannot carry."""

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.log_entry import MAX_LEVEL, MAX_LOG_MESSAGE, LogEntry, add_to


def columns(*entries: LogEntry) -> pb.LogBatch:
    batch = pb.LogBatch()
    for entry in entries:
        add_to(batch, entry)
    return batch


def test_an_entry_is_a_row_of_the_columns() -> None:
    batch = columns((b"a", 1, 20, "one", "first", "x-1"), (b"b", 2, 30, "two", "second", "y-2"))
    rows = zip(
        batch.run_ids, batch.at_us, batch.levels, batch.loggers, batch.messages, batch.run_names, strict=True
    )
    assert list(rows) == [(b"a", 1, 20, "one", "first", "x-1"), (b"b", 2, 30, "two", "second", "y-2")]


def test_what_is_no_text_becomes_an_escape_sequence() -> None:
    batch = columns((b"a", 1, 20, "\udcff", "\udcfe", "\udcfd"))
    assert (batch.loggers[0], batch.messages[0], batch.run_names[0]) == ("\\udcff", "\\udcfe", "\\udcfd")


def test_a_level_above_all_others_is_carried_as_the_highest() -> None:
    assert columns((b"a", 1, 1 << 40, "", "", "")).levels[0] == MAX_LEVEL


def test_levels_below_all_others_and_endless_messages_are_carried_as_far_as_that_goes() -> None:
    batch = columns((b"a", 1, -5, "", "é" * MAX_LOG_MESSAGE, ""))
    assert batch.levels[0] == 0
    assert MAX_LOG_MESSAGE - 4 < len(batch.messages[0].encode()) <= MAX_LOG_MESSAGE + 3
