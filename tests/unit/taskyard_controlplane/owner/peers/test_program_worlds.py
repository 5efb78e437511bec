"""What programs hand over: kept as long as somebody may need it, and never for ever."""

import pytest

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Overloaded
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.peers import program_worlds
from taskyard_controlplane.owner.peers.program_worlds import (
    MOST_BYTES,
    MOST_LEFT,
    WORLD_BYTES,
    ProgramWorlds,
)

A, B = b"a" * 16, b"b" * 16
ONE, OTHER = b"one" * 5 + b"!", b"other" * 3 + b"!"


def world(world_id: bytes, revision: int = 1, outlives: bool = False, **variables: str) -> pb.ProgramWorld:
    return pb.ProgramWorld(id=world_id, revision=revision, outlives=outlives, variables=variables)


def known(worlds: ProgramWorlds, world_id: bytes, revision: int = 1) -> dict[str, str]:
    return dict(worlds.variables_of(Template(1, b"", b"", world=(world_id, revision))))


def test_each_revision_has_its_own_variables() -> None:
    worlds = ProgramWorlds()
    worlds.announce(ONE, [world(A, 1, REGION="north"), world(A, 2, REGION="south")])
    assert (known(worlds, A, 1), known(worlds, A, 2)) == ({"REGION": "north"}, {"REGION": "south"})
    assert known(worlds, B) == {}
    assert worlds.variables_of(Template(1, b"", b"")) == {}


def test_a_world_ends_with_the_last_session_that_is_of_it() -> None:
    worlds = ProgramWorlds()
    for session in (ONE, OTHER):
        worlds.announce(session, [world(A, REGION="north")])
    worlds.announce(ONE, [world(B)])
    assert worlds.leave(ONE) == [B]
    assert known(worlds, A) == {"REGION": "north"}
    assert worlds.leave(OTHER) == [A]
    assert known(worlds, A) == {}
    assert worlds.leave(OTHER) == []


def test_what_outlives_its_program_is_kept_as_long_as_there_is_room() -> None:
    worlds = ProgramWorlds()
    worlds.announce(ONE, [world(A, outlives=True, REGION="north")])
    assert worlds.leave(ONE) == [A], "its workers are of no more use all the same"
    assert known(worlds, A) == {"REGION": "north"}
    for number in range(MOST_LEFT):
        worlds.announce(ONE, [world(number.to_bytes(16, "big"), outlives=True, N="n")])
        worlds.leave(ONE)
    assert known(worlds, A) == {}


def test_of_one_session_the_newest_are_kept() -> None:
    worlds = ProgramWorlds()
    large = "x" * (MOST_BYTES // 4)
    for revision in range(6):
        worlds.announce(ONE, [world(A, revision, TEXT=large)])
    assert [bool(known(worlds, A, revision)) for revision in range(6)] == [False] * 3 + [True] * 3


def test_of_all_sessions_together_so_much_is_kept_and_what_is_left_makes_room() -> None:
    large = "x" * 1_000
    worlds = ProgramWorlds(most_bytes=4 * (1_000 + WORLD_BYTES + 10))
    worlds.announce(ONE, [world(A, revision, TEXT=large) for revision in range(4)])
    with pytest.raises(Overloaded, match="try again later"):
        worlds.announce(OTHER, [world(B, TEXT=large)])
    assert worlds.leave(OTHER) == []
    worlds.announce(ONE, [world(A, 4, TEXT=large)])
    assert [bool(known(worlds, A, revision)) for revision in range(5)] == [False] + [True] * 4
    assert worlds.leave(ONE) == [A]
    worlds.announce(OTHER, [world(B, TEXT=large)])
    assert known(worlds, B)


def test_who_has_waited_for_a_world_is_told_by_whether_it_was_awaited() -> None:
    worlds = ProgramWorlds()
    worlds.is_awaited((A, 1))
    assert not worlds.announce(ONE, [world(B)])
    assert worlds.announce(ONE, [world(A)])
    assert not worlds.announce(ONE, [world(A)])


def test_runs_wait_for_a_program_that_is_not_there_until_it_is_or_is_given_up() -> None:
    worlds = ProgramWorlds()
    asked: list[tuple[bytes, int]] = []
    worlds.on_awaited = asked.append
    assert not worlds.is_awaited(None)
    assert worlds.is_awaited((A, 1))
    assert worlds.is_awaited((A, 1))
    assert worlds.is_awaited((B, 1))
    assert asked == [(A, 1), (B, 1)]
    worlds.announce(ONE, [world(A, REGION="north")])
    worlds.give_up((A, 1))
    worlds.give_up((B, 1))
    assert not worlds.is_awaited((A, 1))
    assert not worlds.is_awaited((B, 1))
    worlds.leave(ONE)
    assert worlds.is_awaited((A, 1)), "it was there, and may be there again"


def test_what_was_given_up_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_worlds, "MOST_GIVEN_UP", 2)
    worlds = ProgramWorlds()
    for name in (A, B, b"c" * 16):
        worlds.is_awaited((name, 1))
        worlds.give_up((name, 1))
    assert [worlds.is_awaited((name, 1)) for name in (A, B, b"c" * 16)] == [True, False, False]
