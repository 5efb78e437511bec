"""What programs hand over: kept as long as somebody may need it, and never for ever."""

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.peers import program_worlds
from taskyard_controlplane.owner.peers.program_worlds import MOST_BYTES, MOST_LEFT, ProgramWorlds

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


def test_what_was_given_up_is_forgotten_in_the_end(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(program_worlds, "MOST_GIVEN_UP", 2)
    worlds = ProgramWorlds()
    for name in (A, B, b"c" * 16):
        worlds.is_awaited((name, 1))
        worlds.give_up((name, 1))
    assert [worlds.is_awaited((name, 1)) for name in (A, B, b"c" * 16)] == [True, False, False]
