"""Values that cannot travel: the user gets a typed error that helps, and everything else goes on."""

import pytest
from support.processes import Installation

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        (
            "unpicklable-argument",
            "NotPicklable",
            ["cannot submit 'echo'", "argument 0 (a lock)", "ThreadPool"],
        ),
        ("unpicklable-argument-in-map", "NotPicklable", ["cannot submit 'echo'", "(a lock)"]),
        ("unpicklable-result", "NotPicklable", ["a value of type lock", "return what can be pickled"]),
        ("large-argument", "PayloadTooLarge", ["arguments of 'echo'", "10,000,000", "pass a reference"]),
        ("large-result", "PayloadTooLarge", ["the result is", "10,000,000", "return a reference"]),
    ],
)
def test_a_value_that_cannot_travel(lasting: Installation, case: str, error: str, words: list[str]) -> None:
    (told,) = lasting.succeeded(lasting.start_client("bad_input", case), 30)
    assert error in told["error"], told
    assert "TaskyardError" in told["error"]
    assert [word for word in words if word not in told["message"]] == [], told["message"]
    assert (told["limit"] > 0) == (error == "PayloadTooLarge")
    # What was submitted before is not lost, and the same flow goes on afterwards.
    assert (told["before"], told["after"]) == ("before", "after")
