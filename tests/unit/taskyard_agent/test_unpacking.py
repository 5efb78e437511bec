"""Bundles become directories, and nothing outside of them."""

import importlib.util
import os
import stat
import zipfile
from pathlib import Path

import pytest

from taskyard_agent.holding import unpacking
from taskyard_agent.holding.unpacking import BadBundle, facts_of, unpack
from taskyard_contract.world import bundles
from taskyard_contract.world.bundles import MANIFEST, Manifest
from taskyard_contract.world.facts import MainFacts

PLAIN = Manifest(
    path=["0"],
    modules={"plugin": "1/plugin-1.py", "parent": ""},
    main=MainFacts("/home/ada/main.py", spec=None),
    main_place="0/main.py",
    arguments=["main.py", "-v"],
)


def packed(path: Path, *entries: tuple[str, str], mode: int = 0o100644, manifest: Manifest = PLAIN) -> Path:
    """Write an archive of some files."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, bundles.encode(manifest))
        for name, text in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, text)
    return path


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_an_archive_becomes_files(tmp_path: Path) -> None:
    directory = tmp_path / "unpacked"
    unpack(packed(tmp_path / "a.zip", ("0/main.py", "X = 1"), ("0/pkg/data.txt", "d")), directory)
    names = {name for name in files_below(directory) if "__pycache__" not in name}
    assert names == {MANIFEST, "0/main.py", "0/pkg/data.txt"}
    assert (directory / "0/pkg/data.txt").read_text() == "d"
    assert not stat.S_IMODE((directory / "0/main.py").stat().st_mode) & stat.S_IXUSR


def test_what_can_be_executed_stays_so(tmp_path: Path) -> None:
    unpack(packed(tmp_path / "a.zip", ("0/tool.sh", "#!"), mode=0o100755), tmp_path / "unpacked")
    assert os.access(tmp_path / "unpacked/0/tool.sh", os.X_OK)


def test_modules_are_compiled_for_good_under_their_final_names(tmp_path: Path) -> None:
    directory = tmp_path / "unpacked"
    unpack(packed(tmp_path / "a.zip", ("0/main.py", "def f(): pass")), directory)
    source = str(directory / "0/main.py")
    compiled = Path(importlib.util.cache_from_source(source, optimization="")).read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == 0b01, "unchecked, by hash"
    assert source.encode() in compiled
    assert b".part" not in compiled


def test_a_module_that_cannot_be_compiled_harms_no_other(tmp_path: Path) -> None:
    unpack(packed(tmp_path / "a.zip", ("0/a.py", "def {{name}}():"), ("0/b.py", "X = 1")), tmp_path / "out")
    assert Path(importlib.util.cache_from_source(str(tmp_path / "out/0/b.py"), optimization="")).exists()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "0/../../x", "0//x", "./x", "0\\x", "0/sub/", "a/.", ".."]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / "a.zip", (name, "x"))
    with pytest.raises(BadBundle, match="would lie elsewhere"):
        unpack(archive, tmp_path / "in" / "unpacked")
    assert files_below(tmp_path) == {"a.zip"}


def test_links_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", ("0/link", "/etc"), mode=stat.S_IFLNK | 0o777)
    with pytest.raises(BadBundle, match="which is no file"):
        unpack(archive, tmp_path / "unpacked")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="two files of one name"):
        unpack(packed(tmp_path / "a.zip", ("0/a", "1"), ("0/a", "2")), tmp_path / "unpacked")


def test_more_than_the_limit_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0/zeros", bytes(bundles.MOST_BYTES + 2 * 1024 * 1024))
    with pytest.raises(BadBundle, match="an agent unpacks at most"):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(BadBundle, match="no archive that can be read"):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")
    damaged = packed(tmp_path / "b.zip", ("0/main.py", "text" * 100))
    data = bytearray(damaged.read_bytes())
    data[data.index(b"texttext")] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(BadBundle, match="no archive that can be read"):
        unpack(damaged, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
    assert not list(tmp_path.glob("*.part"))


def test_workers_are_told_where_things_are_here(tmp_path: Path) -> None:
    directory = tmp_path / "unpacked"
    unpack(packed(tmp_path / "a.zip", ("0/main.py", "")), directory)
    known = facts_of(directory)
    assert not known.is_near
    assert known.path == [str(directory / "0")]
    assert known.modules == {"plugin": str(directory / "1/plugin-1.py"), "parent": ""}
    assert known.main.file == str(directory / "0/main.py")
    assert (known.arguments, known.variables) == (["main.py", "-v"], {})


def test_places_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    for number, manifest in enumerate(
        (
            PLAIN._replace(path=["/"]),
            PLAIN._replace(modules={"m": "../m.py"}),
            PLAIN._replace(main_place=".."),
        )
    ):
        unpack(packed(tmp_path / "a.zip", manifest=manifest), tmp_path / str(number))
        with pytest.raises(BadBundle, match="would lie elsewhere"):
            facts_of(tmp_path / str(number))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "main": {"x": 1}}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadBundle, match="cannot be used"):
        facts_of(tmp_path)


def test_an_archive_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="has no manifest"):
        unpacking.facts_of(tmp_path)
