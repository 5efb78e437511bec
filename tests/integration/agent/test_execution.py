"""An agent process executes what a control plane assigns."""

import asyncio
import hashlib
import json
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support.agent_process import agent_and_server, agent_of
from support.scripted_controlplane import ScriptedControlPlane
from support.task_codes import COMMANDS, Unloadable, call

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import blob_service_pb2, common_pb2, failure_pb2, session_service_pb2, states_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import checksum_of, content_name, result_name
from taskyard_contract.errors import PayloadTooLarge
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import StateReason


def test_runs_return_their_results_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            assert agent.ready_line == (
                f"taskyard agent ready: tester, 2 slots, queues default, server {server.address}"
            )
            ids = server.assign(1, [call("echo", number) for number in range(300)])
            await server.until(lambda: len(server.outcomes) == 300)
            assert [server.result(run_id) for run_id in ids] == list(range(300))
            assert set(server.reports.values()) == {1}

    asyncio.run(main())


def test_an_invocation_carries_what_the_chunk_says(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            upstream, failed, caller = new_id(), new_id(), new_id()
            error = pickle.dumps(KeyError("gone"))
            outcome = session_service_pb2.RunOutcome(
                run_id=failed,
                state=states_pb2.RUN_STATE_FAILED,
                failure=failure_pb2.Failure(
                    type="KeyError", encoded=common_pb2.Payload(encoding="python/pickle5", data=error)
                ),
            )
            first, second = server.assign(
                1,
                [call("about"), call("about")],
                flow_run_name="nightly",
                input_positions=[1, 1],
                input_ids=[upstream, failed],
                inputs=[pickle.dumps([1, 2]), b""],
                others=[outcome],
                extras=[
                    pb.AttemptExtra(
                        position=1,
                        attempt=3,
                        name="special",
                        caller_run_id=caller,
                        cache_key="key",
                        cache_key_decided=True,
                    )
                ],
            )
            await server.until(lambda: len(server.outcomes) == 2)
            plain, rich = server.result(first), server.result(second)
            assert plain["name"] == "task-0"
            assert plain["inputs"] == {}
            assert (plain["run_id"], plain["epoch"]) == (first, server.key(first).epoch)
            assert rich["epoch"] == plain["epoch"] + 1
            assert (rich["name"], rich["attempt"], rich["caller"]) == ("special", 3, caller)
            assert rich["flow"] == "nightly"
            assert rich["cache_key"] == ("key", True)
            assert rich["inputs"][upstream] == [1, 2]
            assert isinstance(rich["inputs"][failed], KeyError)

    asyncio.run(main())


def test_an_exception_is_reported_with_its_traceback(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            failing, exiting, after = server.assign(
                1, [call("raise", "no luck"), call("sys_exit"), call("echo", 1)]
            )
            await server.until(lambda: len(server.outcomes) == 3)
            report = server.failed(failing)
            assert report.kind == pb.REPORT_KIND_FAILED
            assert (report.failure.type, report.failure.message) == ("ValueError", "no luck")
            assert "do_raise" in report.failure.traceback
            assert isinstance(pickle.loads(report.failure.encoded.data), ValueError)
            assert server.failed(exiting).kind == pb.REPORT_KIND_INTERRUPTED
            assert server.failed(exiting).reason == StateReason.INTERRUPTED
            assert server.result(after) == 1

    asyncio.run(main())


def test_code_that_cannot_be_loaded_fails_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.define(2, pickle.dumps(Unloadable()))
            (run_id,) = server.assign(2, [b""])
            await server.until(lambda: run_id in server.outcomes)
            report = server.failed(run_id)
            assert report.reason == StateReason.CODE_UNAVAILABLE
            assert report.not_retriable
            assert "a library that is not here" in report.message

    asyncio.run(main())


def test_code_by_reference_takes_json(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.define(2, encoding="json/plain", reference="support.task_codes:add")
            server.define(3, encoding="python/pickle5", reference="support.task_codes:add_later")
            server.define(4, encoding="json/plain", reference="support.task_codes:missing")
            arguments = json.dumps({"args": [2], "kwargs": {"right": 3}}).encode()
            (by_json,) = server.assign(2, [arguments])
            (by_pickle,) = server.assign(3, [pickle.dumps(((4, 5), {}))])
            (missing,) = server.assign(4, [arguments])
            await server.until(lambda: len(server.outcomes) == 3)
            assert json.loads(server.outcomes[by_json].result) == 5
            assert server.result(by_pickle) == 9
            assert server.failed(missing).reason == StateReason.CODE_UNAVAILABLE
            assert "missing" in server.failed(missing).message

    asyncio.run(main())


class Storing(ScriptedControlPlane):
    """Keeps what is uploaded under names as well, once it is what was announced."""

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, bytes] = {}
        self.directory = common_pb2.BlobDirectory()
        """The store, which agents are told of."""

    def _welcome(self, hello: pb.AgentHello) -> pb.AgentWelcome:
        welcome = super()._welcome(hello)
        welcome.blob_directory.CopyFrom(self.directory)
        return welcome

    async def UploadBlob(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802
        messages = [message async for message in request_iterator]
        blob, data = messages[0].blob, b"".join(message.part for message in messages)
        assert (blob.size, blob.checksum) == (len(data), checksum_of([data]))
        self.named[blob.name] = data
        return blob_service_pb2.UploadBlobResponse(blob=blob)


def test_blobs_are_fetched_before_and_stored_after_execution(tmp_path: Path) -> None:
    async def main() -> None:
        server = Storing()
        await server.start()
        try:
            await play(server)
        finally:
            await server.stop()

    async def play(server: Storing) -> None:
        async with agent_of(server, tmp_path):
            server.define(2, COMMANDS + b" ", in_store=True)
            arguments = call("size", b"y" * 3_000_000)
            blob = common_pb2.BlobRef(digest=hashlib.sha256(arguments).digest(), size=len(arguments))
            server.blobs[blob.digest] = arguments
            chunk, (large_input,) = server.chunk(
                2, [b""], blobs=[blob], extras=[pb.AttemptExtra(position=0, args=blob)]
            )
            server.send(chunk)
            small, large = server.assign(1, [call("big", 1000), call("big", 20_000_000)])
            await server.until(lambda: len(server.outcomes) == 3, 30)
            assert server.result(large_input) == 3_000_000
            assert server.outcomes[small].result == b"x" * 1000
            stored = server.failed(large)
            assert stored.kind == pb.REPORT_KIND_SUCCEEDED
            assert stored.result.blob.size == 20_000_000
            assert stored.result.encoding == "python/pickle5"
            assert stored.result.blob.name == result_name(large, server.key(large).epoch)
            assert server.named == {stored.result.blob.name: b"x" * 20_000_000}

    asyncio.run(main())


def test_nothing_is_transferred_where_the_store_of_the_server_is_seen(tmp_path: Path) -> None:
    store = BlobDirectory(tmp_path / "store")
    store.make()

    async def main() -> None:
        server = Storing()
        server.directory = common_pb2.BlobDirectory(path=str(store.root), nonce=store.mark())
        await server.start()
        try:
            await play(server)
        finally:
            await server.stop()

    async def play(server: Storing) -> None:
        arguments = call("size", b"y" * 3_000_000)
        name, size = content_name([arguments]), len(arguments)
        store.add(name, [arguments], size)
        blob = common_pb2.BlobRef(name=name, size=size, checksum=checksum_of([arguments]))
        async with agent_of(server, tmp_path / "home"):
            extras = [pb.AttemptExtra(position=0, args=blob)]
            chunk, (large_input,) = server.chunk(1, [b""], blobs=[blob], extras=extras)
            server.send(chunk)
            (large,) = server.assign(1, [call("big", 20_000_000)])
            await server.until(lambda: len(server.outcomes) == 2, 30)
            assert server.result(large_input) == 3_000_000
            stored = server.failed(large).result.blob
            assert stored.name == result_name(large, server.key(large).epoch)
            assert store.path(stored.name).read_bytes() == b"x" * 20_000_000
            assert (server.named, server.blobs) == ({}, {})
        own = tmp_path.joinpath("home").rglob("blobs/*/*")
        assert [path for path in own if path.is_file()] == []

    asyncio.run(main())


def test_a_blob_that_nobody_has_is_reported(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            blob = common_pb2.BlobRef(digest=b"0" * 32, size=1)
            chunk, (run_id,) = server.chunk(1, [b""], blobs=[blob])
            server.send(chunk)
            await server.until(lambda: run_id in server.lost)
            assert server.lost[run_id].reason == StateReason.CODE_UNAVAILABLE

    asyncio.run(main())


def test_a_result_over_the_limit_is_refused_with_advice(tmp_path: Path) -> None:
    def prepare(server: ScriptedControlPlane) -> None:
        server.max_inline, server.max_payload = 1000, 100_000

    async def main() -> None:
        async with agent_and_server(tmp_path, prepare=prepare) as (_, server):
            (too_large,) = server.assign(1, [call("big", 100_001)])
            await server.until(lambda: too_large in server.outcomes)
            server.upload_refusal = PayloadTooLarge("no room for that")
            (refused,) = server.assign(1, [call("big", 50_000)])
            await server.until(lambda: refused in server.outcomes)
            for run_id, text in ((too_large, "return a reference"), (refused, "no room for that")):
                assert server.failed(run_id).kind == pb.REPORT_KIND_FAILED
                assert server.failed(run_id).reason == StateReason.RESULT_REFUSED
                assert text in server.failed(run_id).message

    asyncio.run(main())


def test_log_records_come_before_the_report_and_during_long_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            quick, slow = server.assign(1, [call("log", "quick"), call("log", "slow", 3.0)])
            await server.until(lambda: (slow, "slow") in server.logs, 2.5)
            assert (quick, "quick") in server.logs
            assert slow not in server.outcomes

    asyncio.run(main())


def test_workers_know_their_server(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            (run_id,) = server.assign(1, [call("environment", "TASKYARD_SERVER")])
            await server.until(lambda: run_id in server.outcomes)
            assert server.result(run_id) == server.address

    asyncio.run(main())
