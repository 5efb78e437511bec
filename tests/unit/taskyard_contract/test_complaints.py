from itertools import pairwise

from taskyard_contract.agent_link.complaints import FIRST_PAUSE, LONGEST_PAUSE, PATIENCE_SECONDS, Complaints


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def said(complaints: Complaints, time: Time, seconds: float, step: float = 0.5) -> list[float]:
    """Fail again and again for so long; returns at which seconds that was said."""
    found = []
    began = time.now
    while time.now - began <= seconds:
        if complaints.failed() is not None:
            found.append(time.now - began)
        time.now += step
    return found


def test_a_server_that_starts_with_its_agent_is_waited_for_in_silence():
    time = Time()
    complaints = Complaints(time)
    assert said(complaints, time, PATIENCE_SECONDS - 0.5) == []
    assert complaints.welcomed() is None, "who said nothing need not take it back"


def test_a_server_that_is_not_there_is_said_once_and_then_ever_more_rarely():
    time = Time()
    complaints = Complaints(time)
    assert said(complaints, time, 120) == [2.0, 12.0, 32.0, 72.0]


def test_it_never_falls_silent():
    time = Time()
    moments = said(Complaints(time), time, 3 * 3600, step=5.0)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE


def test_a_stream_that_is_lost_is_said_at_once_and_again_when_it_lasts():
    time = Time()
    complaints = Complaints(time)
    complaints.welcomed()
    assert said(complaints, time, 15) == [0.0, FIRST_PAUSE]


def test_that_it_is_over_is_said_once_with_how_long_it_was():
    time = Time()
    complaints = Complaints(time)
    complaints.welcomed()
    assert complaints.failed() == 0.0
    time.now += 7
    assert complaints.welcomed() == 7.0
    assert complaints.welcomed() is None
    assert complaints.failed() == 0.0, "the next loss is a new one"
