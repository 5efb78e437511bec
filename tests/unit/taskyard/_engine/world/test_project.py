"""What a project says of its code."""

import os
from pathlib import Path

import pytest

from taskyard._engine.world.project import Patterns, project_of
from taskyard.exceptions import ConfigurationError


def test_the_nearest_project_above_the_program_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.taskyard]\nexclude = ["outer"]\n')
    inner = tmp_path / "inner"
    (inner / "src").mkdir(parents=True)
    (inner / "pyproject.toml").write_text(
        '[tool.taskyard]\ninclude = ["a"]\nenvironment = ["B"]\ncode = "image"\n'
    )
    project = project_of(str(inner / "src/main.py"))
    assert project == (str(inner), ("a",), (), ("B",), True)


def test_without_a_file_of_the_project_its_directory_is_that_of_the_program(tmp_path: Path) -> None:
    assert project_of(str(tmp_path / "main.py")) == (str(tmp_path), (), (), (), False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("incude = []", "has the key 'incude'"),
        ("include = 'x'", "expected a list of texts"),
        ("exclude = [1]", "expected a list of texts"),
        ("code = 'docker'", 'expected "image"'),
        ("include = [", "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.taskyard]\n{text}\n")
    with pytest.raises(ConfigurationError, match=said):
        project_of(str(tmp_path / "main.py"))


def test_only_variables_that_are_named_go_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.taskyard]\nenvironment = ["REGION", "NOT_SET"]\n')
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("MODE", "fast")
    monkeypatch.setenv("TASKYARD_FORWARD_ENV", "MODE, ")
    assert project_of(str(tmp_path / "main.py")).variables() == {"MODE": "fast", "REGION": "north"}


@pytest.mark.parametrize(
    ("pattern", "path", "means"),
    [
        ("data", "data", True),
        ("data", "pkg/data/x.csv", True),
        ("data", "pkg/database.py", False),
        ("/pkg/data/", "pkg/data/x/y.csv", True),
        ("pkg/*.csv", "pkg/x.csv", True),
        ("pkg/*.csv", "pkg/sub/x.csv", False),
        ("pkg/**/*.csv", "pkg/x.csv", True),
        ("pkg/**/*.csv", "pkg/a/b/x.csv", True),
        ("*.csv", "pkg/x.csv", True),
        ("x?.py", "x1.py", True),
        ("a.b", "axb", False),
    ],
)
def test_patterns_mean_paths_and_all_below_them(pattern: str, path: str, means: bool) -> None:
    assert Patterns([pattern]).match(path) is means


def test_more_variables_than_servers_keep_are_refused_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LARGE", "x" * 65_536)
    monkeypatch.setenv("TASKYARD_FORWARD_ENV", "LARGE")
    with pytest.raises(ConfigurationError, match=r"\(LARGE\) have 65,541 bytes"):
        project_of(str(tmp_path / "main.py")).variables()
    monkeypatch.setenv("LARGE", os.fsdecode(b"\xff"))
    with pytest.raises(ConfigurationError, match="'LARGE' is to be sent to other machines and is no text"):
        project_of(str(tmp_path / "main.py")).variables()
