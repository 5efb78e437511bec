"""What the log of a server has of gRPC's own."""

import asyncio
import logging

import pytest

from taskyard_controlplane.rpc.server import RpcServer
from taskyard_controlplane.settings import RpcSettings

FROM_GRPC = logging.getLogger("grpc._cython.cygrpc")


async def serve() -> None:
    RpcServer(RpcSettings())


@pytest.mark.parametrize(("error", "told"), [(asyncio.CancelledError(), []), (ValueError(), ["failed"])])
def test_calls_that_never_began_are_no_news_and_defects_are(
    error: BaseException, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(serve())
    FROM_GRPC.error("failed", exc_info=error)
    assert [record.getMessage() for record in caplog.records if record.name == FROM_GRPC.name] == told
