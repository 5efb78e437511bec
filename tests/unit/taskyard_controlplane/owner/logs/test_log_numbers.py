"""Numbers of log records: the time at which each came, and never one twice."""

from support.owner_harness import FakeClock

from taskyard_controlplane.owner.logs.numbers import LogNumbers


def test_a_number_is_the_time_and_the_next_one_is_greater():
    clock = FakeClock()
    numbers, now = LogNumbers(clock), clock.now_us()
    assert [numbers.next(), numbers.next()] == [now, now + 1]
    clock.seconds += 1
    assert numbers.next() == now + 1_000_000
    assert numbers.last == now + 1_000_000


def test_a_clock_that_is_set_back_gives_no_number_twice():
    clock = FakeClock()
    numbers = LogNumbers(clock)
    first = numbers.next()
    clock.seconds -= 100
    assert numbers.next() == first + 1


def test_the_numbers_of_an_earlier_owner_are_not_given_again():
    clock = FakeClock()
    numbers = LogNumbers(clock)
    numbers.go_on_after(clock.now_us() + 50)
    numbers.go_on_after(3)
    assert numbers.next() == clock.now_us() + 51
