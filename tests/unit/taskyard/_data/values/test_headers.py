"""Headers are checked where they are written, because a server refuses whole frames."""

from typing import Any

import pytest

from taskyard._data.values.headers import NO_HEADERS, merged
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.templates import group_of
from taskyard._network.session.run_groups import RunGroup
from taskyard._network.session.session import Session
from taskyard.context import current_headers, headers
from taskyard.tasks import task
from taskyard_contract.payload_limits import MAX_HEADER_BYTES


def test_later_ones_win_and_nothing_is_copied_for_nothing() -> None:
    known = {"a": "1", "b": "2"}
    assert merged(known, {}) is known
    assert merged(known, {"b": "3", "c": "4"}) == {"a": "1", "b": "3", "c": "4"}


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"": "x"}, ValueError, "'' is no name of a header"),
        ({"a\n": "x"}, ValueError, r"'a\\n' is no name of a header"),
        ({"a": "\ud800"}, ValueError, "the header 'a' has half a character"),
        ({"a": 1}, TypeError, "headers are text, not 'a': 1"),
        ({"a": "ä" * (MAX_HEADER_BYTES // 2)}, ValueError, "the headers a have 1,025 bytes"),
    ],
)
def test_what_a_server_would_refuse_is_refused(
    wrong: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words), headers(wrong):
        pass
    merged({}, {"a": "x" * (MAX_HEADER_BYTES - 1)})


def test_blocks_add_up_and_end() -> None:
    with headers(traceparent="00-1"), headers({"x-team": "night"}, traceparent="00-2") as active:
        assert active == current_headers() == {"traceparent": "00-2", "x-team": "night"}
    assert current_headers() is NO_HEADERS


def test_runs_have_those_of_their_caller_and_of_the_blocks_around_the_call() -> None:
    scope = Scope(Session(lambda: "nowhere"), headers={"a": "1", "b": "1"}, executor=_Here())
    told = task(lambda: None)
    plain = group_of(told, scope, scope.session)
    with headers(b="2"):
        inside = group_of(told, scope, scope.session)
        assert group_of(told, scope, scope.session) is inside
    assert group_of(told, scope, scope.session) is not inside
    assert dict(RunGroup(plain, 0).to_message(0).headers) == {"a": "1", "b": "1"}
    group = RunGroup(inside, 0)
    assert dict(group.to_message(0).headers) == {"a": "1", "b": "2"}
    assert group.size == 4


class _Here:
    """An executor, so that no code has to be written."""

    queue = "here"

    def keep(self, *_: Any) -> None: ...

    def serve(self, *_: Any) -> None: ...
