"""Listen addresses are understood before anything is bound."""

from pathlib import Path

import pytest

from taskyard_controlplane.rpc.addresses import ListenFailed, ensure_free, split_host_port, unix_path


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:4700", ("127.0.0.1", 4700)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_host_and_port_are_split(address: str, parts: tuple[str, int]) -> None:
    assert split_host_port(address) == parts


@pytest.mark.parametrize("address", ["", "4700", ":4700", "host", "host:", "host:http", "host:65536"])
def test_anything_else_is_refused_with_the_right_form(address: str) -> None:
    with pytest.raises(ListenFailed, match="HOST:PORT"):
        split_host_port(address)


@pytest.mark.parametrize("address", ["unix:/run/x.sock", "unix:///run/x.sock"])
def test_unix_addresses_have_a_path(address: str) -> None:
    assert unix_path(address) == Path("/run/x.sock")


def test_other_addresses_have_none() -> None:
    assert unix_path("127.0.0.1:1") is None


def test_a_socket_path_too_long_for_the_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListenFailed, match="shorter"):
        ensure_free(f"unix:{tmp_path}/{'x' * 120}.sock")


def test_a_socket_needs_its_directory(tmp_path: Path) -> None:
    with pytest.raises(ListenFailed, match="does not exist"):
        ensure_free(f"unix:{tmp_path}/nowhere/x.sock")
