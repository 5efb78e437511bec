"""What a process says that it holds: stretches of time, with a clock and ids of the test's."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from taskyard._data.values.awaited import AwaitedRun
from taskyard._data.values.holds import HOLDS, STRETCH_SECONDS, Holds, Stretch


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.ids = (number.to_bytes(16) for number in count())

    def new_id(self) -> bytes:
        return next(self.ids)

    def holds(self) -> Holds:
        return Holds(self.new_id, lambda: self.seconds)


def test_a_future_has_the_stretch_in_which_it_was_made() -> None:
    run = AwaitedRun(b"r" * 16, None)  # type: ignore[arg-type]
    assert run._stretch is HOLDS.current


def test_what_was_let_go_of_is_not_held_any_more() -> None:
    clock = Clock()
    holds = clock.holds()
    run_id, stretch = clock.new_id(), holds.current
    for _ in range(5):
        clock.seconds += STRETCH_SECONDS
        assert holds.oldest() <= run_id
    del stretch
    assert holds.oldest() > run_id


def test_a_future_that_is_made_a_while_after_its_id_is_held() -> None:
    clock = Clock()
    holds = clock.holds()
    run_id = clock.new_id()
    clock.seconds += STRETCH_SECONDS
    holds.oldest()
    stretch = holds.current
    for _ in range(5):
        clock.seconds += STRETCH_SECONDS
        assert holds.oldest() <= run_id
    assert isinstance(stretch, Stretch)


@given(st.lists(st.one_of(st.floats(0.1, 100.0), st.sampled_from(["make", "let go of the first", "ask"]))))
def test_no_run_is_given_up_that_a_future_has(steps: list[float | str]) -> None:
    clock = Clock()
    holds = clock.holds()
    held: list[tuple[bytes, Stretch]] = []
    said = b""
    for step in steps:
        if step == "make":
            held.append((clock.new_id(), holds.current))
        elif step == "let go of the first":
            del held[:1]
        elif isinstance(step, float):
            clock.seconds += step
        else:
            said = holds.oldest()
        assert all(run_id >= said for run_id, _ in held)
    held.clear()
    for _ in range(3):
        clock.seconds += STRETCH_SECONDS
        last = clock.new_id()
        holds.oldest()
    assert holds.oldest() >= said
    clock.seconds += 2 * STRETCH_SECONDS
    holds.oldest()
    clock.seconds += STRETCH_SECONDS
    assert holds.oldest() > last
