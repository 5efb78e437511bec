"""The bundle of a program: packed when something of it has changed, stored once."""

import importlib
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.world.bundle import Bundler
from taskyard._engine.world.project import main_file, project_of
from taskyard._engine.world.surroundings import Surroundings, facts_of
from taskyard.exceptions import ConfigurationError, PayloadTooLarge
from taskyard_contract.blobs.names import sha256_name
from taskyard_contract.world import bundles
from taskyard_contract.world.facts import WorldFacts


def known() -> WorldFacts:
    return facts_of(Surroundings(), False)


def looked() -> Bundler:
    bundler = Bundler(project_of(main_file()))
    assert not bundler.look(known())
    return bundler


def names_of(session: LoopbackSession, digest: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(session.stored.blobs[sha256_name(digest)])) as archive:
        return archive.namelist()


def test_what_is_stored_has_the_modules_and_what_workers_need_to_know(
    project: Path, session: LoopbackSession
) -> None:
    bundle = looked().stored(session)
    data = session.stored.blobs[sha256_name(bundle.digest)]
    assert len(data) == bundle.size
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [bundles.MANIFEST, "0/bundled_one.py"]
        assert archive.read("0/bundled_one.py") == b"VALUE = 1\n"
        manifest = bundles.decode(archive.read(bundles.MANIFEST))
    assert (manifest.path, manifest.arguments) == (["0"], ["main.py", "argument"])


def test_equal_files_are_an_equal_archive(project: Path, session: LoopbackSession, tmp_path: Path) -> None:
    first = looked().stored(session)
    os.utime(project / "bundled_one.py", (1, 1))
    (tmp_path / "home/bundles.json").unlink()  # or it would not be packed again
    assert looked().stored(session) == first


def test_an_unchanged_project_is_packed_by_the_first_program_only(
    project: Path, session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = looked().stored(session)
    monkeypatch.delattr("taskyard._engine.world.bundle.archive_of")
    assert looked().stored(session) == first


def test_a_server_that_does_not_have_it_is_sent_it_once(project: Path, session: LoopbackSession) -> None:
    bundler = looked()
    bundle = bundler.stored(session)
    session.stored.blobs.clear()
    assert bundler.stored(session) == bundle
    assert not session.stored.blobs
    other = LoopbackSession()
    assert bundler.stored(other) == bundle
    assert names_of(other, bundle.digest)
    other.script.close()


def test_a_changed_file_is_noticed_when_a_flow_begins(
    project: Path, session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard._engine.world.bundle.PAUSE", 0.0)
    bundler = looked()
    first = bundler.stored(session)
    (project / "bundled_one.py").write_text("VALUE = 22\n")
    assert bundler.is_same(), "files are looked at when a flow begins only"
    bundler.doubt()
    assert not bundler.is_same()
    assert not bundler.is_same(), "it was told, and nobody has looked since"
    assert bundler.look(known()), "workers may have imported what was changed"
    assert bundler.stored(session) != first


def test_a_module_that_was_imported_since_is_added(project: Path, session: LoopbackSession) -> None:
    bundler = looked()
    bundler.stored(session)
    (project / "bundled_two.py").write_text("")
    importlib.invalidate_caches()
    importlib.import_module("bundled_two")
    assert not bundler.is_same()
    assert not bundler.look(known()), "what workers have imported is as it was"
    assert "0/bundled_two.py" in names_of(session, bundler.stored(session).digest)


def test_modules_that_are_installed_change_nothing(project: Path, session: LoopbackSession) -> None:
    bundler = looked()
    sys.modules.pop("colorsys", None)
    importlib.import_module("colorsys")
    assert bundler.is_same()


def test_what_a_flow_names_is_sent_besides(project: Path, session: LoopbackSession) -> None:
    (project / "words.txt").write_text("a b")
    bundler = looked()
    bundler.include(("words.txt",))
    assert not bundler.is_same()
    bundler.look(known())
    assert "0/words.txt" in names_of(session, bundler.stored(session).digest)


def test_no_variable_is_stored_not_even_those_that_are_handed_over(
    project: Path, session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGION", "north")
    (project / "pyproject.toml").write_text('[tool.taskyard]\nenvironment = ["REGION"]\n')
    data = session.stored.blobs[sha256_name(looked().stored(session).digest)]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert b"north" not in archive.read(bundles.MANIFEST)


def test_more_than_the_server_takes_is_told(project: Path, session: LoopbackSession) -> None:
    (project / "bundled_one.py").write_bytes(
        b"#" + os.urandom(2_000_000).replace(b"\n", b"").replace(b"\r", b"")
    )
    with pytest.raises(PayloadTooLarge, match="the server takes at most 1,000,000"):
        looked().stored(session)


def test_a_file_that_cannot_be_read_is_told(project: Path, session: LoopbackSession) -> None:
    bundler = looked()
    (project / "bundled_one.py").unlink()
    with pytest.raises(ConfigurationError, match=r"bundled_one.py' .* cannot be read"):
        bundler.stored(session)
