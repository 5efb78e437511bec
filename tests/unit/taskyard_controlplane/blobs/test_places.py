"""What URLs of places for blobs mean."""

import subprocess
import sys
from pathlib import Path

import pytest

from taskyard_controlplane.blobs.places import Kind, parse_place


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("/data/blobs", Kind.DIRECTORY, "/data/blobs"),
        ("file:///data/my%20blobs", Kind.DIRECTORY, "/data/my blobs"),
        ("memory:", Kind.MEMORY, "memory:"),
        ("memory://", Kind.MEMORY, "memory:"),
        ("s3://bucket", Kind.OBJECTS, "s3://bucket"),
        ("s3://bucket/a/b/", Kind.OBJECTS, "s3://bucket/a/b"),
        ("gs://bucket/x", Kind.OBJECTS, "gs://bucket/x"),
        ("az://container/x", Kind.OBJECTS, "az://container/x"),
    ],
)
def test_a_place_is_understood(url: str, kind: Kind, shown: str) -> None:
    place = parse_place(url)
    assert (place.kind, place.url) == (kind, shown)
    assert place.path == (Path(shown) if kind is Kind.DIRECTORY else None)


def test_a_relative_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_place("blobs").path == tmp_path / "blobs"


@pytest.mark.parametrize(
    "url", ["", "ftp://host/x", "s3:bucket", "s3:///x", "s3://bucket/../other", "s3://[x"]
)
def test_anything_else_is_refused_with_what_may_be_given(url: str) -> None:
    with pytest.raises(ValueError, match="give a directory"):
        parse_place(url)


@pytest.mark.parametrize("url", ["memory:", "/tmp/blobs"])
def test_other_stores_do_without_the_package(url: str) -> None:
    script = (
        "import sys; from taskyard_controlplane.blobs import create_blob_store as make;"
        f"from taskyard_controlplane.blobs.places import parse_place; make(parse_place({url!r}));"
        "print('obstore' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
