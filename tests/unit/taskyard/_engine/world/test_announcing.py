"""What templates say of the world of their program, for agents here and elsewhere."""

import importlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.loopback import LoopbackSession

from taskyard import settings
from taskyard._engine.definitions.flow_options import IMAGE, Code
from taskyard._engine.world import announcing, bundle
from taskyard._engine.world.announcing import World, look_at_modules, world_of
from taskyard.exceptions import ConfigurationError
from taskyard_api.v1 import template_pb2
from taskyard_api.v1.session_service_pb2 import ProgramWorld
from taskyard_contract.blobs.names import sha256_name
from taskyard_contract.world import facts, inherited


@pytest.fixture
def far(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSession]:
    """A session of a program, whose server is on another machine."""
    monkeypatch.setattr(announcing, "_keeper", announcing._Keeper())
    monkeypatch.setattr(announcing, "_keeper_in_image", announcing._Keeper())
    monkeypatch.setattr(announcing, "_announced_to", set())
    session = LoopbackSession("192.0.2.1:4700")
    yield session
    for keeper in (announcing._keeper, announcing._keeper_in_image):
        keeper.end()
    session.script.close()


def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "PAUSE", 0.0)


def named(world: World) -> tuple[bytes, int]:
    return named_in(world.message)


def named_in(message: template_pb2.World) -> tuple[bytes, int]:
    return message.id, message.revision


def test_on_this_machine_nothing_is_sent(far: LoopbackSession) -> None:
    near = LoopbackSession("unix:/run/yard.sock")
    world = world_of(near)
    assert world.is_near
    assert not world.message.bundle_digest
    assert not near.stored.blobs
    near.script.close()


def test_what_a_world_names_is_stored(far: LoopbackSession) -> None:
    message = world_of(far).message
    assert len(far.stored.blobs[sha256_name(message.bundle_digest)]) == message.bundle_bytes


def test_as_long_as_nothing_changes_it_is_the_same(far: LoopbackSession) -> None:
    world = world_of(far)
    look_at_modules()
    assert world.holds()
    assert world_of(far).message == world.message


def test_after_an_edit_workers_are_others(far: LoopbackSession, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at_once(monkeypatch)
    before = world_of(far)
    Path("bundled_one.py").write_text("VALUE = 2222")
    look_at_modules()
    assert not before.holds()
    after = world_of(far)
    assert after.message.id != before.message.id
    assert after.message.bundle_digest != before.message.bundle_digest


def test_after_another_import_workers_are_the_same(far: LoopbackSession) -> None:
    before = world_of(far)
    Path("bundled_two.py").write_text("")
    importlib.invalidate_caches()
    importlib.import_module("bundled_two")
    assert not before.holds()
    after = world_of(far)
    assert named(after) == (before.message.id, before.message.revision + 1)
    assert after.message.bundle_digest != before.message.bundle_digest


def test_after_an_addition_to_a_package_workers_are_others(
    far: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at_once(monkeypatch)
    Path("bundled_package").mkdir()
    Path("bundled_package/__init__.py").write_text("")
    importlib.invalidate_caches()
    importlib.import_module("bundled_package")
    before = world_of(far)
    Path("bundled_package/added.py").write_text("")
    look_at_modules()
    assert world_of(far).message.id != before.message.id


def test_flows_whose_code_workers_have_get_workers_of_their_own(far: LoopbackSession) -> None:
    sent, image = world_of(far), world_of(far, IMAGE)
    assert image.message.id != sent.message.id
    assert not image.message.bundle_digest
    assert sent.holds()


def test_a_project_that_workers_have_is_not_sent(far: LoopbackSession) -> None:
    Path("pyproject.toml").write_text('[tool.taskyard]\ncode = "image"\n')
    assert not world_of(far).message.bundle_digest
    assert not far.stored.blobs


def test_what_cannot_be_sent_is_told_at_each_call(far: LoopbackSession) -> None:
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no such file"):
            world_of(far, ("missing.txt",))


def test_variables_of_the_program_stay_here(far: LoopbackSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    message = world_of(far).message
    assert b"s3cret" not in message.SerializeToString()
    assert b"s3cret" not in far.stored.blobs[sha256_name(message.bundle_digest)]
    assert os.environ["TOKEN"] == "s3cret"


def announced(session: LoopbackSession) -> list[ProgramWorld]:
    """What the next frame says of worlds."""
    frame = session.in_flight.next_frame()
    return [] if frame is None else list(frame.worlds)


@pytest.mark.parametrize("code", [(), IMAGE])
def test_variables_that_are_named_are_handed_over_and_not_stored(
    far: LoopbackSession, monkeypatch: pytest.MonkeyPatch, code: Code
) -> None:
    far.silent = True
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("TASKYARD_FORWARD_ENV", "REGION, NOT_THERE")
    message = world_of(far, code).message
    assert list(message.variables) == ["REGION"]
    assert b"north" not in message.SerializeToString()
    [handed] = announced(far)
    assert (handed.id, handed.revision, dict(handed.variables)) == (*named_in(message), {"REGION": "north"})


def test_a_variable_that_was_changed_is_handed_over_with_another_revision(
    far: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.silent = True
    monkeypatch.setenv("TASKYARD_FORWARD_ENV", "REGION")
    monkeypatch.setenv("REGION", "north")
    first = world_of(far)
    monkeypatch.setenv("REGION", "south")
    assert not first.holds()
    second = world_of(far)
    assert named(second) == (first.message.id, first.message.revision + 1)
    assert [one.variables["REGION"] for one in announced(far)] == ["north", "south"]


def test_a_server_on_this_machine_is_handed_nothing(
    far: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_FORWARD_ENV", "REGION")
    monkeypatch.setenv("REGION", "north")
    near = LoopbackSession("unix:/run/yard.sock")
    near.silent = True
    assert not world_of(near).message.variables
    assert not announced(near)
    near.script.close()


def test_runs_that_outlive_their_program_are_announced_as_such(
    far: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.silent = True
    world_of(far)
    assert [one.outlives for one in announced(far)] == [False]
    announcing.outlive()
    assert [one.outlives for one in announced(far)] == [True]


def test_a_worker_hands_on_what_it_was_given(far: LoopbackSession, monkeypatch: pytest.MonkeyPatch) -> None:
    far.silent = True
    own = template_pb2.World(id=b"w" * 16, revision=3, variables=["REGION"])
    monkeypatch.setattr(inherited, "_inherited", type(inherited._inherited)())
    inherited.inherit(own.SerializeToString(), "", {"REGION": "north"})
    assert world_of(far).message == own
    [handed] = announced(far)
    assert (handed.id, handed.revision, dict(handed.variables)) == (b"w" * 16, 3, {"REGION": "north"})


def test_what_was_set_in_python_is_told_to_workers_elsewhere_as_far_as_there_is_room(
    far: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = LoopbackSession("unix:/run/yard.sock")
    assert not world_of(near).message.options, "they read it from the file"
    near.script.close()
    before = world_of(far)
    told = json.loads(before.message.options)
    assert told["recursion_limit"] == sys.getrecursionlimit()
    with warnings.catch_warnings():
        for number in range(90):
            warnings.filterwarnings("ignore", message=f"{number:0100}")
        assert not before.holds()
        after = world_of(far).message
    assert json.loads(after.options) == {name: one for name, one in told.items() if name != "filters"}
    assert after.revision == before.message.revision + 1


def test_another_session_is_of_another_world(far: LoopbackSession) -> None:
    before = world_of(far)
    announcing._end(far)
    assert world_of(far).message.id != before.message.id, "agents were told that the former has ended"


def test_what_was_announced_stays_while_any_session_is_open(far: LoopbackSession) -> None:
    near = LoopbackSession("unix:/run/yard.sock")
    worlds = settings.home() / facts.WORLDS
    for session in (near, far):
        world_of(session)
    assert list(worlds.glob("*.json"))
    announcing._end(near)
    assert list(worlds.glob("*.json")), "runs of the other session may not have started"
    announcing._end(far)
    assert not list(worlds.glob("*.json"))
    near.script.close()
