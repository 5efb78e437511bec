"""The agent's directory of blobs: within its capacity, and in no use where the control plane's is seen."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from taskyard_agent.holding.blob_store import LARGE_BYTES, LOOK_SECONDS, MOST_AT_ONCE, BlobStore
from taskyard_api.v1 import agent_service_pb2, blob_service_pb2, common_pb2, session_service_pb2
from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceServicer, add_BlobServiceServicer_to_server
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import checksum_of, content_name, inputs_name, name_of, result_name
from taskyard_contract.errors import BlobNotFound, DigestMismatch
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.rpc_errors import to_status

SIZE = 1000
Ref = common_pb2.BlobRef


def store(path: Path, capacity: int) -> BlobStore:
    return BlobStore(path, lambda: "127.0.0.1:1", capacity)


def put(blobs: BlobStore, ref: Ref, used_at: float) -> None:
    path = blobs.path(ref)
    path.write_bytes(b"x" * SIZE)
    os.utime(path, (used_at, used_at))


def part(blobs: BlobStore, ref: Ref) -> Path:
    path = blobs.path(ref)
    unfinished = path.with_name(f".{path.name}.0123456789abcdef.part")
    unfinished.write_bytes(b"x" * SIZE)
    return unfinished


def files_in(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*") if file.is_file())


def ref_to(data: bytes, name: str = "") -> Ref:
    return Ref(name=name or content_name([data]), size=len(data), checksum=checksum_of([data]))


@pytest.fixture
def refs() -> list[Ref]:
    return [Ref(digest=bytes([number]) * 32, size=SIZE) for number in range(4)]


def test_what_was_not_used_for_longest_is_removed_first(tmp_path: Path, refs: list[Ref]) -> None:
    blobs = store(tmp_path, 2 * SIZE)
    for used_at, ref in enumerate(refs):
        put(blobs, ref, used_at)
    blobs.in_use = lambda: [name_of(refs[0])]
    blobs.make_room()
    assert [blobs.has([ref]) for ref in refs] == [True, False, False, True]


def test_a_result_stays_while_its_report_may_be_on_the_way(tmp_path: Path) -> None:
    blobs = store(tmp_path, SIZE)
    fresh, old, sent = (Ref(name=result_name(bytes([n]) * 16, 1), size=SIZE) for n in range(3))
    for ref in (fresh, old, sent):
        put(blobs, ref, 1)
    for ref in (fresh, sent):
        os.utime(blobs.path(ref))
    blobs.make_room(sent.name)
    assert [blobs.has([ref]) for ref in (fresh, old, sent)] == [True, False, False]


def test_files_are_looked_at_when_they_may_be_too_many_or_after_a_while(
    tmp_path: Path, refs: list[Ref], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: seconds)
    blobs = store(tmp_path, 2 * SIZE)
    blobs.make_room()
    for used_at, ref in enumerate(refs):
        put(blobs, ref, used_at)
    blobs.make_room()
    assert blobs.has(refs), "nobody has told of them"
    seconds += LOOK_SECONDS
    blobs.make_room()
    assert [blobs.has([ref]) for ref in refs] == [False, False, True, True]


def test_a_few_large_blobs_come_at_a_time_and_small_ones_pass_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(blobs: BlobStore, service: _Service) -> None:
        going: list[str] = []
        done, busy = asyncio.Event(), asyncio.Event()

        async def download(ref: Ref) -> None:
            going.append(ref.name)
            if len(going) == MOST_AT_ONCE:
                busy.set()
            if ref.size >= LARGE_BYTES:
                await done.wait()

        monkeypatch.setattr(blobs, "_download_once", download)
        large = [Ref(name=f"b3-{number}", size=LARGE_BYTES) for number in range(9)]
        fetches = [asyncio.create_task(blobs.fetch(part)) for part in (large[:6], large[6:7], large[7:])]
        await asyncio.wait_for(busy.wait(), 20)
        await asyncio.wait_for(blobs.fetch([Ref(name="b3-code", size=9)]), 20)
        assert going == [*(ref.name for ref in large[:MOST_AT_ONCE]), "b3-code"]
        done.set()
        await asyncio.gather(*fetches)
        assert sorted(going) == sorted([*(ref.name for ref in large), "b3-code"])

    with_server(tmp_path, scenario)


def test_what_is_being_fetched_is_not_removed_nor_counted(tmp_path: Path, refs: list[Ref]) -> None:
    blobs = store(tmp_path, SIZE)
    put(blobs, refs[0], 1)
    unfinished = part(blobs, refs[1])
    blobs.make_room()
    assert (unfinished.exists(), blobs.has(refs[:1])) == (True, True)


def test_nothing_unfinished_is_left_of_an_earlier_agent(tmp_path: Path, refs: list[Ref]) -> None:
    blobs = store(tmp_path, SIZE)
    abandoned = part(blobs, refs[0])
    put(blobs, refs[1], 1)
    again = store(tmp_path, SIZE)
    assert (abandoned.exists(), again.has(refs[1:2])) == (False, True)


def test_files_of_the_first_release_are_removed(tmp_path: Path, refs: list[Ref]) -> None:
    digest = refs[0].digest.hex()
    for name in (digest, f"{digest}.7.part"):
        tmp_path.joinpath(name).write_bytes(b"x")
    store(tmp_path, SIZE)
    assert files_in(tmp_path) == []


class _Service(BlobServiceServicer):
    """Has some blobs, and keeps what is uploaded."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def DownloadBlob(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        name = name_of(Ref(name=request.name, digest=request.digest))
        self.asked.append(name)
        yield blob_service_pb2.DownloadBlobResponse(part=self.blobs.get(name, b"a beginning"))
        if name not in self.blobs:
            await context.abort_with_status(to_status(BlobNotFound("no such blob")))

    async def UploadBlob(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802
        messages = [message async for message in request_iterator]
        self.blobs[messages[0].blob.name] = b"".join(message.part for message in messages)
        return blob_service_pb2.UploadBlobResponse()


Scenario = Callable[[BlobStore, _Service], Coroutine[Any, Any, None]]


def with_server(path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        server, service = aio.server(), _Service()
        add_BlobServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            await scenario(BlobStore(path, lambda: f"127.0.0.1:{port}", SIZE), service)
        finally:
            await server.stop(None)

    asyncio.run(main())


def test_what_is_fetched_is_here_once_and_under_its_name(tmp_path: Path) -> None:
    ref = ref_to(b"what the server has")

    async def scenario(blobs: BlobStore, service: _Service) -> None:
        service.blobs[ref.name] = b"what the server has"
        await asyncio.gather(*(blobs.fetch([ref]) for _ in range(3)))
        await blobs.fetch([ref])
        assert service.asked == [ref.name]
        assert blobs.has([ref])
        assert blobs.path(ref).read_bytes() == b"what the server has"

    with_server(tmp_path, scenario)
    assert files_in(tmp_path) == [ref.name]


def test_to_be_fetched_again_is_to_be_used(tmp_path: Path, refs: list[Ref]) -> None:
    async def scenario(blobs: BlobStore, service: _Service) -> None:
        put(blobs, refs[0], 1)
        await blobs.fetch(refs[:1])
        assert blobs.path(refs[0]).stat().st_mtime > 1
        assert service.asked == []

    with_server(tmp_path, scenario)


def test_a_download_that_fails_for_good_leaves_nothing(tmp_path: Path, refs: list[Ref]) -> None:
    async def scenario(blobs: BlobStore, service: _Service) -> None:
        with pytest.raises(BlobNotFound):
            await blobs.fetch(refs[:1])

    with_server(tmp_path, scenario)
    assert files_in(tmp_path) == []


def test_a_value_that_is_gone_holds_up_nobody_else(tmp_path: Path) -> None:
    """Semantics: of many runs that come together, only those fail that need it."""
    gone, damaged, fine = ref_to(b"gone"), ref_to(b"damaged"), ref_to(b"fine")

    async def scenario(blobs: BlobStore, service: _Service) -> None:
        service.blobs |= {fine.name: b"fine", damaged.name: b"DAMAGED"}
        await blobs.fetch([gone, damaged, fine])
        assert blobs.has([gone, damaged, fine]), "they would be fetched again and again"
        assert blobs.path(fine).read_bytes() == b"fine"
        assert not blobs.path(gone).exists()
        assert not blobs.path(damaged).exists()
        service.blobs[gone.name] = b"gone"
        blobs.ask_again([gone])
        assert not blobs.has([gone])
        await blobs.fetch([gone])
        assert blobs.path(gone).read_bytes() == b"gone", "somebody has stored it again"

    with_server(tmp_path, scenario)


def test_what_arrives_damaged_gets_no_name(tmp_path: Path) -> None:
    ref = ref_to(b"what was meant")

    async def scenario(blobs: BlobStore, service: _Service) -> None:
        service.blobs[ref.name] = b"what was sent"
        with pytest.raises(DigestMismatch):
            await blobs._download_once(ref)

    with_server(tmp_path, scenario)
    assert files_in(tmp_path) == []


def test_a_result_is_sent_as_it_lies_in_the_directory(tmp_path: Path) -> None:
    data = b"result" * 100_000
    ref = ref_to(data, result_name(b"r" * 16, 1))

    async def scenario(blobs: BlobStore, service: _Service) -> None:
        BlobDirectory(tmp_path).write(ref.name, [data], len(data), durable=False)
        await blobs.upload(ref)
        assert service.blobs == {ref.name: data}
        assert len(data) > blob_transfer.SENT_BYTES
        assert not blobs.has([ref]), "it is more than there is capacity for, and the server has it"

    with_server(tmp_path, scenario)


def test_a_result_that_cannot_be_read_is_an_error_and_no_cancellation(
    tmp_path: Path, refs: list[Ref]
) -> None:
    async def scenario(blobs: BlobStore, service: _Service) -> None:
        # It can be opened, and nothing lies at its beginning.
        blobs.path(refs[0]).symlink_to("/proc/self/mem")
        with pytest.raises(OSError, match="Input/output error"):
            await blobs.upload(refs[0])

    with_server(tmp_path, scenario)


def test_a_full_disk_gets_rid_of_what_nobody_needs(tmp_path: Path, refs: list[Ref]) -> None:
    blobs = store(tmp_path, 100 * SIZE)
    for used_at, ref in enumerate(refs):
        put(blobs, ref, used_at)
    blobs.in_use = lambda: [name_of(refs[0])]
    os.utime(blobs.path(refs[1]))  # just written: its report may be on the way
    unfinished = part(blobs, Ref(digest=bytes([9]) * 32))
    blobs.evict()
    assert [blobs.has([ref]) for ref in refs] == [True, True, False, False]
    assert unfinished.exists()


def test_a_download_without_room_tries_once_more_after_making_some(
    tmp_path: Path, refs: list[Ref], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(blobs: BlobStore, service: _Service) -> None:
        put(blobs, refs[0], 1)

        async def download(ref: Ref) -> None:
            if blobs.has(refs[:1]):
                raise OSError(errno.ENOSPC, "full")
            put(blobs, ref, 2)

        monkeypatch.setattr(blobs, "_download_once", download)
        await blobs.fetch(refs[1:2])
        assert [blobs.has([ref]) for ref in refs[:2]] == [False, True]

    with_server(tmp_path, scenario)


def shared(path: Path) -> tuple[BlobDirectory, common_pb2.BlobDirectory]:
    """Return a store of a control plane, and what that says of it."""
    directory = BlobDirectory(path)
    directory.make()
    return directory, common_pb2.BlobDirectory(path=str(path), nonce=directory.mark())


def test_a_store_is_seen_by_what_the_control_plane_has_written_into_it(tmp_path: Path) -> None:
    directory, told = shared(tmp_path / "store")
    blobs = store(tmp_path / "own", SIZE)
    assert blobs.shared is None
    assert blobs.look_for(told) == str(directory.root)
    assert blobs.shared is not None
    assert blobs.shared.root == directory.root


@pytest.mark.parametrize("case", ["another nonce", "no nonce", "no mark", "no directory", "nothing said"])
def test_a_directory_that_may_be_another_one_is_not_used(tmp_path: Path, case: str) -> None:
    directory, told = shared(tmp_path / "store")
    blobs = store(tmp_path / "own", SIZE)
    blobs.look_for(told)
    if case == "another nonce":
        told.nonce = bytes(16)
    elif case == "no nonce":
        told.nonce = b""
        directory.root.joinpath(".store").write_bytes(b"")
    elif case == "no mark":
        directory.root.joinpath(".store").unlink()
    elif case == "no directory":
        told.path = str(tmp_path / "elsewhere")
    else:
        told.Clear()
    assert blobs.look_for(told) == ""
    assert blobs.shared is None, "and what was seen before is forgotten"


def test_what_the_shared_store_has_is_not_fetched(tmp_path: Path) -> None:
    directory, told = shared(tmp_path / "store")
    data = b"what the server has"
    ref, unsized = ref_to(data), blob_transfer.ref_of(data)
    unsized.size = 0  # as code is named, of which nobody says how large it is
    for one in (ref, unsized):
        directory.add(name_of(one), [data], len(data))

    async def scenario(blobs: BlobStore, service: _Service) -> None:
        assert not blobs.has([ref])
        blobs.look_for(told)
        assert blobs.has([ref, unsized])
        await blobs.fetch([ref, unsized])
        assert [blobs.path(one) for one in (ref, unsized)] == [
            directory.path(ref.name), directory.path(name_of(unsized))
        ]  # fmt: skip
        assert service.asked == []

    with_server(tmp_path / "own", scenario)
    assert files_in(tmp_path / "own") == []


def test_what_the_shared_store_has_not_or_only_in_part_is_fetched(tmp_path: Path) -> None:
    directory, told = shared(tmp_path / "store")
    data = b"what the server has"
    ref = ref_to(data)
    directory.write(ref.name, [data[:4]], 4)

    async def scenario(blobs: BlobStore, service: _Service) -> None:
        service.blobs[ref.name] = data
        blobs.look_for(told)
        assert not blobs.has([ref])
        await blobs.fetch([ref])
        assert blobs.has([ref])
        assert blobs.path(ref).read_bytes() == data

    with_server(tmp_path / "own", scenario)
    assert (files_in(tmp_path / "own"), directory.size(ref.name)) == ([ref.name], 4)


def test_nothing_is_ever_removed_from_the_shared_store(tmp_path: Path) -> None:
    directory, told = shared(tmp_path / "store")
    ref = ref_to(b"x" * SIZE)
    directory.add(ref.name, [b"x" * SIZE], SIZE)
    os.utime(directory.path(ref.name), (1, 1))
    blobs = store(tmp_path / "own", 0)
    blobs.look_for(told)
    blobs.make_room()
    blobs.evict()
    assert blobs.has([ref])


def test_blobs_that_only_a_body_names_are_read_from_it_where_they_have_to_be_fetched(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = store(tmp_path / "own", 10 * SIZE)
        wanted = Ref(name=content_name([b"wanted"]), size=6, checksum=checksum_of([b"wanted"]))
        outcome = session_service_pb2.RunOutcome(run_id=b"u" * 16)
        outcome.result.blob.CopyFrom(wanted)
        content = agent_service_pb2.ChunkBody(args=[b""], others=[outcome]).SerializeToString()
        body = Ref(name=inputs_name(b"r" * 16, 1), size=len(content), checksum=checksum_of([content]))
        path = blobs.path(body)
        path.write_bytes(content)
        assert await blobs.further(body) == [wanted]
        blobs.shared = BlobDirectory(tmp_path / "own")
        assert await blobs.further(body) == []

    asyncio.run(scenario())


def test_inputs_that_are_gone_are_not_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = store(tmp_path / "own", 10 * SIZE)

        async def gone(blob: Ref) -> None:
            raise BlobNotFound("the run is over")

        blobs._download = gone  # type: ignore[method-assign]
        with pytest.raises(BlobNotFound):
            await blobs.fetch([Ref(name=inputs_name(b"r" * 16, 1), size=9, checksum=1)])

    asyncio.run(scenario())
