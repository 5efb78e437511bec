"""Addresses as people write them, and what gRPC is told."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from grpc._cython import cygrpc

from taskyard_contract.transport.channels import (
    CLIENT_OPTIONS,
    DEFAULT_GRPC_PORT,
    SERVER_OPTIONS,
    target_of,
    unix_target,
)

ODD = ["/tmp/a b", "/tmp/100%", "/tmp/x%20y", "/tmp/what?", "/tmp/no#1", "/tmp/ünï", "/tmp/[x]:1", "here"]


@pytest.mark.parametrize("path", ODD)
def test_a_socket_may_have_any_path(path: str) -> None:
    target = target_of(f"unix:{path}")
    assert target.startswith("unix:")
    assert not set(target) & set("?# ")
    assert unquote(target.removeprefix("unix:")) == path


def test_a_socket_whose_name_is_no_text_is_found() -> None:
    assert unix_target("unix:/tmp/\udcff") == "unix:/tmp/%FF"


def test_an_absolute_path_may_follow_two_slashes() -> None:
    assert target_of("unix:///tmp/what?") == "unix:///tmp/what%3F"


def test_an_address_without_a_port_has_the_usual_one() -> None:
    assert target_of("there") == f"there:{DEFAULT_GRPC_PORT}"
    assert target_of("there:1") == "there:1"


def test_every_option_is_one_that_grpc_knows() -> None:
    # gRPC ignores others without a word, and a rule that holds for nobody is found much later.
    library = Path(cygrpc.__file__).read_bytes()
    names = {name for name, _ in CLIENT_OPTIONS + SERVER_OPTIONS}
    assert not {name for name in names if name.encode() + b"\0" not in library}
