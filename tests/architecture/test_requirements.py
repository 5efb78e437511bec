"""What is installed must load the generated code, also at its lowest version, and be what is locked."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from taskyard_contract.programs.extras import NEEDED

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "protos" / "python" / "taskyard_api" / "v1"


def requirements() -> list[Requirement]:
    """Return all that the project and its developers ask for themselves."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = read["project"]
    lines = [*project["dependencies"], *read["build-system"]["requires"]]
    lines += [line for extra in project["optional-dependencies"].values() for line in extra]
    lines += [line for group in read["dependency-groups"].values() for line in group if isinstance(line, str)]
    return [one for one in map(Requirement, lines) if one.name != project["name"]]


def extras() -> dict[str, set[str]]:
    """Return which distributions each extra brings, other extras left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        extra: {name for line in lines if (name := Requirement(line).name) != project["name"]}
        for extra, lines in project["optional-dependencies"].items()
    }


def bounds(name: str) -> SpecifierSet:
    """Return which versions of a package the project allows."""
    found = [one.specifier for one in requirements() if one.name == name]
    assert found, f"{name} is not required"
    return found[0]


def lowest(name: str) -> Version:
    """Return the lowest version of a package that the project allows."""
    return max(Version(bound.version) for bound in bounds(name) if bound.operator == ">=")


@pytest.mark.parametrize("name", sorted({one.name for one in requirements()}))
def test_what_is_required_is_locked_within_its_bounds(name: str) -> None:
    lock = "\n".join((ROOT / "requirements" / f"{each}.txt").read_text() for each in ("dev", "clusters"))
    found = re.search(rf"^{re.escape(name)}(?:\[\w+\])?==(\S+)", lock, re.MULTILINE)
    assert found, f"{name} is not locked; run 'make lock'"
    assert bounds(name).contains(found.group(1)), f"{name} {found.group(1)} is locked; run 'make lock'"


@pytest.mark.parametrize("extra", sorted(NEEDED))
def test_programs_miss_what_their_extra_brings(extra: str) -> None:
    """All but uvloop, in place of which asyncio has a loop."""
    homes = packages_distributions()
    missed = {canonicalize_name(home) for name in NEEDED[extra] for home in homes.get(name, ())}
    assert missed - {"taskyard"} == extras()[extra] - {"uvloop"}


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_a_lock_holds_hashes_and_names_no_server(lock: Path) -> None:
    text = lock.read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text


def test_protobuf_loads_what_was_generated() -> None:
    calls = r"ValidateProtobufRuntimeVersion\(\s*\S+\s+(\d+),\s+(\d+),\s+(\d+)"
    found = {
        match.groups()
        for path in GENERATED.glob("*_pb2.py")
        for match in re.finditer(calls, path.read_text())
    }
    assert {Version(".".join(numbers)) for numbers in found} == {lowest("protobuf")}


@pytest.mark.parametrize("name", ["grpcio", "grpcio-status", "grpcio-health-checking", "grpcio-reflection"])
def test_grpc_loads_what_was_generated(name: str) -> None:
    texts = [path.read_text() for path in GENERATED.glob("*_pb2_grpc.py")]
    found = {version for text in texts for version in re.findall(r"GRPC_GENERATED_VERSION = '(.+)'", text)}
    assert {Version(version) for version in found} == {lowest(name)}
