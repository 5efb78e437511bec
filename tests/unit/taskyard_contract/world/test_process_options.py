"""What a program has set in Python itself is seen, told as plain values, and taken over."""

import decimal
import json
import locale
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextvars import Context

import pytest

from taskyard_contract.world.process_options import Seen, apply, current


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = sys.getrecursionlimit(), sys.get_int_max_str_digits(), socket.getdefaulttimeout()
    language, decimals = locale.setlocale(locale.LC_ALL), current()["decimal"]
    with warnings.catch_warnings(), decimal.localcontext():
        yield
    apply({"decimal": decimals})
    sys.setrecursionlimit(before[0])
    sys.set_int_max_str_digits(before[1])
    socket.setdefaulttimeout(before[2])
    locale.setlocale(locale.LC_ALL, language)


def change() -> None:
    sys.setrecursionlimit(4321)
    sys.set_int_max_str_digits(640)
    socket.setdefaulttimeout(1.5)
    locale.setlocale(locale.LC_ALL, "C")
    decimal.getcontext().prec = 5
    decimal.getcontext().rounding = decimal.ROUND_UP
    decimal.getcontext().traps[decimal.Inexact] = True
    warnings.resetwarnings()
    warnings.filterwarnings("error", message="one.*", category=DeprecationWarning, module="some")
    warnings.simplefilter("ignore", UserWarning)


def test_what_was_changed_is_seen_and_taken_over_as_plain_values() -> None:
    before = current()
    seen = Seen()
    assert seen.hold()
    change()
    assert not seen.hold()
    told = json.loads(json.dumps(current()))
    found: list[object] = []
    for options in (before, told):
        apply(options)
        Context().run(lambda: found.append(json.loads(json.dumps(current()))))
    assert found == [json.loads(json.dumps(before)), told], "in a context of its own, as runs have"
    assert (sys.getrecursionlimit(), sys.get_int_max_str_digits()) == (4321, 640)
    assert socket.getdefaulttimeout() == 1.5
    assert [one[0] for one in warnings.filters] == ["ignore", "error"]
    assert warnings.filters[1][1].match("One thing")  # type: ignore[union-attr]


def test_filters_of_what_others_do_not_have_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(UserWarning):
        """A warning of a script."""

    Own.__module__ = "__main__"
    warnings.resetwarnings()
    warnings.simplefilter("ignore", Own)
    assert current()["filters"] == []
    apply({"filters": [["error", None, ["no_such_package", "Warned"], None, 0]]})
    assert list(warnings.filters) == []


def test_a_locale_that_is_not_here_is_said() -> None:
    with pytest.raises(ValueError, match="locale 'xx_YY' is not on this machine"):
        apply({"locale": ["C", "C", "C", "xx_YY"]})


def test_how_texts_are_encoded_here_is_no_affair_of_other_machines() -> None:
    seen, told = Seen(), current()
    locale.setlocale(locale.LC_CTYPE, "C")
    assert seen.hold()
    assert current() == told


def test_what_a_later_release_knows_is_left_alone() -> None:
    told = current()
    apply({"of_a_later_release": 1})
    assert current() == told


def test_other_threads_say_nothing_of_their_contexts() -> None:
    found: list[bool] = []
    seen = Seen()

    def look() -> None:
        decimal.getcontext().prec = 3
        found.append(seen.hold())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize(
    "one",
    [
        lambda: sys.setrecursionlimit(4321),
        lambda: sys.set_int_max_str_digits(640),
        lambda: socket.setdefaulttimeout(1.5),
        lambda: warnings.simplefilter("ignore", BytesWarning),
        lambda: setattr(decimal.getcontext(), "prec", 5),
        lambda: setattr(decimal.getcontext(), "rounding", decimal.ROUND_UP),
        lambda: decimal.getcontext().traps.update({decimal.Inexact: True}),
        lambda: setattr(decimal.getcontext(), "capitals", 0),
    ],
)
def test_each_change_is_seen(one: Callable[[], object]) -> None:
    seen = Seen()
    one()
    assert not seen.hold()
    assert Seen().hold()
