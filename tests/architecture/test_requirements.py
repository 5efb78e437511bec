"""What is installed must be able to load the generated code, also at its lowest version."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "protos" / "python" / "taskyard_api" / "v1"


def lowest(name: str) -> Version:
    """Return the lowest version of a package that the project allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    requirements = map(Requirement, [*project["dependencies"], *(line for extra in extras for line in extra)])
    bounds = [one.specifier for one in requirements if one.name == name]
    assert bounds, f"{name} is not required"
    return max(Version(bound.version) for bound in bounds[0] if bound.operator == ">=")


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
