"""A server, or somebody before it, that does not let a program in: one clear sentence, and the end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import pytest
from support.processes import Installation

pytestmark = pytest.mark.acceptance

MOST_STREAMS: Final = 3
"""gRPC may lose the status of a stream that ends while it is written to; then it is asked for once more."""


class KeepOut(grpc.GenericRpcHandler):
    """Answers every call with one status, as a proxy does that asks for credentials."""

    def __init__(self) -> None:
        self.code = grpc.StatusCode.UNAUTHENTICATED
        self.streams = 0

    def service(self, handler_call_details: Any) -> Any:
        if not handler_call_details.method.endswith("Connect"):
            return grpc.unary_unary_rpc_method_handler(self._refuse)
        self.streams += 1
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    def _refuse(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(self.code, "credentials, please")


@pytest.fixture(params=["UNAUTHENTICATED", "PERMISSION_DENIED"])
def kept_out(fresh: Installation, request: pytest.FixtureRequest) -> Iterator[KeepOut]:
    """Somebody at the address of the installation who keeps everybody out."""
    handler = KeepOut()
    handler.code = grpc.StatusCode[request.param]
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    fresh.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield handler
    finally:
        server.stop(None).wait(10)


def test_a_program_says_so_and_ends(fresh: Installation, kept_out: KeepOut) -> None:
    client = fresh.start_client("bad_input", "unpicklable-argument", TASKYARD_SERVER=fresh.address)
    assert fresh.exit_code(client, 30) == 1
    last = client.errors().splitlines()[-1]
    assert "does not let this program in" in last
    assert "check its credentials" in last
    assert 1 <= kept_out.streams <= MOST_STREAMS


def test_an_agent_says_so_and_ends(fresh: Installation, kept_out: KeepOut) -> None:
    agent = fresh.start("agent", "-m", "taskyard_agent", "--server", fresh.address, "--slots", "1")
    assert fresh.exit_code(agent, 30) == 1
    said = [line for line in agent.errors().splitlines() if "credentials, please" in line]
    assert len(said) == 1, agent.errors()
    assert "stops: the control plane does not let this program in" in said[0]
    assert 1 <= kept_out.streams <= MOST_STREAMS


def test_the_command_line_says_so_in_one_line(fresh: Installation, kept_out: KeepOut) -> None:
    command = fresh.start(
        "cli", "-c", "from taskyard.cli import main; main()", "run", "ls", TASKYARD_SERVER=fresh.address
    )
    assert fresh.exit_code(command, 30) == 1
    assert len(command.errors().splitlines()) == 1, command.errors()
    assert "check its credentials" in command.errors()
