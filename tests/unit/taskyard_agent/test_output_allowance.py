"""How much a worker's runs may print."""

from taskyard_agent.processes.output.allowance import BURST_BYTES, BYTES_PER_SECOND, OutputAllowance


def test_much_at_once_is_fine_and_what_goes_beyond_is_counted() -> None:
    allowance = OutputAllowance()
    assert allowance.take(b"x" * (BURST_BYTES - 10), 100.0)
    assert not allowance.take(b"one\ntwo\nthree\n", 100.0)
    assert allowance.take(b"y" * 10, 100.0)
    assert allowance.told() == 3
    assert allowance.told() == 0


def test_little_is_fine_all_the_time() -> None:
    allowance = OutputAllowance()
    assert allowance.take(b"x" * BURST_BYTES, 100.0)
    for second in range(1, 50):
        assert allowance.take(b"x" * BYTES_PER_SECOND, 100.0 + second)
    assert not allowance.take(b"x\n", 149.0)


def test_what_is_not_used_is_not_saved_for_ever() -> None:
    allowance = OutputAllowance()
    assert allowance.take(b"x", 1_000_000.0)
    assert not allowance.take(b"x" * (BURST_BYTES + 1), 2_000_000.0)
