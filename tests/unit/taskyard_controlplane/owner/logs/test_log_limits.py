"""How much a run may log: up to a number of records and of bytes, and then one record that says so."""

from taskyard_controlplane.owner.logs.limits import LogCounts, LogLimits, Verdict

KEPT, REPLACED, LEFT_OUT = Verdict


def verdicts(counts: LogCounts, *sizes: int, run_seq: int = 1) -> list[Verdict]:
    return [counts.take(run_seq, size) for size in sizes]


def test_the_first_record_too_many_is_replaced_and_the_others_are_left_out():
    counts = LogCounts(LogLimits(max_records=2, max_bytes=1_000))
    assert verdicts(counts, 1, 1, 1, 1, 1) == [KEPT, KEPT, REPLACED, LEFT_OUT, LEFT_OUT]


def test_bytes_are_counted_too():
    counts = LogCounts(LogLimits(max_records=100, max_bytes=10))
    assert verdicts(counts, 6, 4, 1, 1) == [KEPT, KEPT, REPLACED, LEFT_OUT]
    assert verdicts(counts, 11, 1, run_seq=2) == [REPLACED, LEFT_OUT], "one run is nothing to another"


def test_nothing_may_be_all():
    assert verdicts(LogCounts(LogLimits(0, 0)), 5, 5) == [REPLACED, LEFT_OUT]


def test_nothing_is_kept_of_runs_that_have_ended():
    counts = LogCounts(LogLimits(1, 10))
    assert verdicts(counts, 1, 1) == [KEPT, REPLACED]
    counts.forget(1)
    counts.forget(2)
    assert not counts.runs


def test_the_record_says_what_the_limits_are():
    assert "2 records or 10 bytes" in LogLimits(2, 10).reached()
