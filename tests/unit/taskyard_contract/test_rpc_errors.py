import grpc
import pytest

from taskyard_contract.errors import ConnectionFailed
from taskyard_contract.transport.rpc_errors import from_rpc_error


class Status(grpc.RpcError):
    """What gRPC raises."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> None:
        return None


TO = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (
            f"{TO}UNKNOWN: ipv4:127.0.0.1:4700: Failed to connect to remote host: Connection refused",
            "connection refused",
        ),
        (
            f"{TO}FAILED_PRECONDITION: unix:/h/yard.sock: connect failed: addr: unix:/h/yard.sock error: No "
            "such file or directory",
            "no such file or directory",
        ),
        (
            "DNS resolution failed for nowhere:4700: C-ares status is not ARES_SUCCESS",
            "DNS resolution failed",
        ),
        ("too many pings", "unavailable: too many pings"),
    ],
)
def test_who_cannot_be_reached_is_said_without_the_insides_of_grpc(details: str, said: str):
    error = from_rpc_error(Status(grpc.StatusCode.UNAVAILABLE, details))
    assert isinstance(error, ConnectionFailed)
    assert f"could not be reached ({said})" in str(error)


def test_what_is_long_is_cut():
    error = from_rpc_error(Status(grpc.StatusCode.UNAVAILABLE, "x" * 5_000))
    assert len(str(error)) < 400


def test_other_errors_keep_their_words():
    error = from_rpc_error(Status(grpc.StatusCode.INTERNAL, "permission denied"))
    assert "internal: permission denied" in str(error)
