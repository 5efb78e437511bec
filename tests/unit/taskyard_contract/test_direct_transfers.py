"""Blobs past the control plane arrive whole, or it is said that they did not, whatever a server does."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from support.blob_host import SECRET, Granting, Handler, Host, cut, hang_up, instead, running_host, status

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import checksum_of, result_name
from taskyard_contract.errors import DigestMismatch
from taskyard_contract.transport import http_requests
from taskyard_contract.transport.blob_transfer import DIRECT_BYTES
from taskyard_contract.transport.direct_fetch import RANGE_BYTES, FileTarget, MemoryTarget
from taskyard_contract.transport.direct_store import FileSource, MemorySource
from taskyard_contract.transport.direct_transfers import LEFT_ALONE_SECONDS, UNKNOWN_SECONDS, DirectTransfers
from taskyard_contract.transport.http_requests import Unreachable, Unusable, host_of, where_of

NAME = result_name(bytes(16), 1)
DATA = bytes(range(251)) * (DIRECT_BYTES // 251 + 1)
LARGE = DATA * (3 * RANGE_BYTES // len(DATA) + 1)


def ref_of(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=NAME, size=len(data), checksum=checksum_of([data]))


class Stage:
    """A server of blobs, who grants it, and who uses both."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.plane = Granting(host)
        self.seconds = 1000.0
        self.slept: list[float] = []
        self.transfers = DirectTransfers(lambda: "127.0.0.1:4700", lambda: self.seconds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def fetched(self, data: bytes, target: Any = None) -> bytes | None:
        """Fetch what should be `data`; returns what came, None if it did not."""
        into = target or MemoryTarget(len(data))
        plane: Any = self.plane
        if not asyncio.run(self.transfers.fetch(plane, ref_of(data), into)):
            return None
        return b"".join(into.parts())

    def stored(self, data: bytes, source: Any = None) -> bool:
        plane: Any = self.plane
        return asyncio.run(self.transfers.store(plane, ref_of(data), source or MemorySource([data])))


@pytest.fixture
def stage() -> Iterator[Stage]:
    with running_host() as host:
        host.blobs[NAME] = DATA
        yield Stage(host)


def answered(code: StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), "said")


def test_a_small_blob_is_one_request(stage: Stage) -> None:
    assert stage.fetched(DATA) == DATA
    assert stage.host.requests == [("GET", "")]


def test_a_large_blob_comes_in_ranges(stage: Stage, tmp_path: Path) -> None:
    stage.host.blobs[NAME] = LARGE
    with FileTarget(tmp_path / "part", len(LARGE)) as target:
        assert stage.fetched(LARGE, target) == LARGE
    assert (tmp_path / "part").read_bytes() == LARGE
    assert (tmp_path / "part").stat().st_mode & 0o777 == 0o600
    count = -(-len(LARGE) // RANGE_BYTES)
    assert len({asked for _, asked in stage.host.requests}) == len(stage.host.requests) == count


def test_who_knows_no_ranges_sends_all_of_it_at_once(stage: Stage) -> None:
    stage.host.blobs[NAME], stage.host.knows_ranges = LARGE, False
    assert stage.fetched(LARGE) == LARGE
    assert len(stage.host.requests) == 1


def test_what_has_arrived_is_not_asked_for_again(stage: Stage) -> None:
    stage.host.blobs[NAME] = LARGE
    stage.host.faults.append(cut(1_000_000))
    assert stage.fetched(LARGE) == LARGE
    assert f"bytes=1000000-{RANGE_BYTES - 1}" in [asked for _, asked in stage.host.requests]
    assert stage.slept == [0.1]


def test_a_connection_that_breaks_again_and_again_gets_there_while_some_of_it_comes(stage: Stage) -> None:
    stage.host.blobs[NAME] = LARGE
    stage.host.faults.extend([cut(300_000)] * 20)
    assert stage.fetched(LARGE) == LARGE


def test_one_that_never_gets_on_is_given_up_and_left_alone_for_a_minute(stage: Stage) -> None:
    stage.host.always = cut(0)
    assert stage.fetched(DATA) is None
    tried = len(stage.host.requests)
    assert tried == len(stage.slept) + 1 == 5
    stage.host.always = None
    assert stage.fetched(DATA) is None
    assert len(stage.host.requests) == tried
    stage.seconds += LEFT_ALONE_SECONDS
    assert stage.fetched(DATA) == DATA


@pytest.mark.parametrize("number", [500, 502, 408])
def test_a_server_that_fails_is_asked_again(stage: Stage, number: int) -> None:
    stage.host.faults.append(status(number))
    assert stage.fetched(DATA) == DATA


@pytest.mark.parametrize("number", [429, 503])
def test_a_server_with_too_much_to_do_says_when_to_come_back(stage: Stage, number: int) -> None:
    stage.host.faults.extend([status(number, Retry_After="7"), status(number, Retry_After="Fri, 1 Jan 2100")])
    assert stage.fetched(DATA) == DATA
    assert stage.slept == [7.0, 2.0]


def test_a_grant_that_has_expired_is_asked_for_once_more(stage: Stage) -> None:
    stage.host.faults.append(status(403))
    assert stage.fetched(DATA) == DATA
    assert stage.plane.asked == [NAME, NAME]


def test_a_server_that_lets_nobody_in_is_left_alone(stage: Stage) -> None:
    stage.host.always = status(403)
    assert stage.fetched(DATA) is None
    assert stage.plane.asked == [NAME, NAME]
    assert stage.fetched(DATA) is None
    assert len(stage.host.requests) == 2


def test_a_blob_that_is_not_there_is_asked_of_the_control_plane_and_the_server_goes_on(stage: Stage) -> None:
    del stage.host.blobs[NAME]
    assert stage.fetched(DATA) is None
    stage.host.blobs[NAME] = DATA
    assert stage.fetched(DATA) == DATA


@pytest.mark.parametrize("other", [DATA[:-1], DATA + b"!", DATA[:-1] + b"!", b""])
def test_what_is_not_the_blob_is_not_taken_for_it(stage: Stage, other: bytes) -> None:
    stage.host.always = instead(other)
    assert stage.fetched(DATA) is None


@pytest.mark.parametrize("other", [LARGE[:-1], LARGE + b"!", LARGE[:-1] + b"!"])
def test_a_large_one_neither(stage: Stage, other: bytes) -> None:
    stage.host.always = instead(other)
    assert stage.fetched(LARGE) is None


def test_redirects_are_not_followed(stage: Stage) -> None:
    stage.host.always = status(302, Location=f"http://127.0.0.1:{stage.plane.port}/elsewhere")
    assert stage.fetched(DATA) is None
    assert len(stage.host.requests) == 1


def test_a_server_that_says_nothing_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_requests, "SILENCE_SECONDS", 0.05)
    held: list[Handler] = []

    def say_nothing(handler: Handler, _: bytes) -> None:
        held.append(handler)
        handler.connection.recv(1)  # until whoever asked has gone

    stage.host.always = say_nothing
    assert stage.fetched(DATA) is None
    assert len(held) == 1
    assert stage.slept == []


def test_nobody_is_there(stage: Stage) -> None:
    stage.plane.port = 1
    assert stage.fetched(DATA) is None
    assert stage.slept == [], "there is another way: nobody waits for this one"


def test_a_disk_that_is_full_is_no_failure_of_the_server(stage: Stage, tmp_path: Path) -> None:
    stage.host.blobs[NAME] = LARGE

    class Full(MemoryTarget):
        def put(self, start: int, part: memoryview) -> None:
            if start > RANGE_BYTES:
                raise OSError(28, "No space left on device")
            super().put(start, part)

    with pytest.raises(OSError, match="No space"):
        stage.fetched(LARGE, Full(len(LARGE)))
    assert stage.fetched(LARGE) == LARGE


def test_small_blobs_are_not_asked_for(stage: Stage) -> None:
    assert stage.fetched(DATA[: DIRECT_BYTES - 1]) is None
    assert not stage.stored(DATA[: DIRECT_BYTES - 1])
    assert stage.plane.asked == []


def test_an_older_control_plane_is_not_asked_again_for_a_while(stage: Stage) -> None:
    stage.plane.error = answered(StatusCode.UNIMPLEMENTED)
    assert stage.fetched(DATA) is None
    assert stage.fetched(DATA) is None
    assert stage.plane.asked == [NAME]
    stage.plane.error = None
    stage.seconds += UNKNOWN_SECONDS
    assert stage.fetched(DATA) == DATA


def test_one_that_fails_to_grant_costs_nobody_a_blob(stage: Stage) -> None:
    stage.plane.error = answered(StatusCode.INTERNAL)
    assert stage.fetched(DATA) is None
    stage.plane.error = answered(StatusCode.UNAVAILABLE)
    with pytest.raises(AioRpcError):
        stage.fetched(DATA)


def test_what_is_not_granted_goes_the_other_way(stage: Stage) -> None:
    stage.plane.grants = False
    assert stage.fetched(DATA) is None
    assert not stage.stored(DATA)
    assert stage.host.requests == []


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("from_file", [False, True])
def test_a_blob_is_stored(stage: Stage, tmp_path: Path, confirm: bool, from_file: bool) -> None:
    stage.host.blobs.clear()
    stage.plane.confirm = confirm
    (tmp_path / "result").write_bytes(DATA)
    source = FileSource(tmp_path / "result") if from_file else MemorySource([DATA[:7], memoryview(DATA)[7:]])
    assert stage.stored(DATA, source)
    assert stage.host.blobs == {NAME: DATA}
    assert stage.plane.told == [NAME] * confirm
    assert ("Content-MD5" in stage.host.headers[0]) == confirm


def test_what_was_removed_meanwhile_is_stored_again_by_the_control_plane(stage: Stage) -> None:
    stage.host.blobs.clear()
    stage.plane.confirm, stage.plane.missing = True, [NAME]
    assert not stage.stored(DATA)


def test_what_is_stored_already_is_compared_by_the_control_plane(stage: Stage) -> None:
    assert not stage.stored(DATA)
    stage.host.blobs.clear()
    assert stage.stored(DATA), "the server is none that has to be left alone"


@pytest.mark.parametrize("number", [404, 409, 413, 507])
def test_why_a_blob_is_not_taken_the_control_plane_says(stage: Stage, number: int) -> None:
    stage.host.blobs.clear()
    stage.host.faults.append(status(number))
    assert not stage.stored(DATA)
    assert stage.slept == []
    assert stage.stored(DATA)


def test_a_server_that_takes_one_connection_is_used_with_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.host.blobs[NAME] = LARGE
    connect, connected = http_requests.Requests.connect, list[Any]()

    def only_one(self: Any, where: Any) -> Any:
        connected.append(where)
        if len(connected) > 1:
            raise Unreachable("takes no more")
        return connect(self, where)

    monkeypatch.setattr(http_requests.Requests, "connect", only_one)
    assert stage.fetched(LARGE) == LARGE
    assert len(connected) > 1


def test_an_upload_without_an_answer_is_repeated(stage: Stage) -> None:
    stage.host.blobs.clear()
    stage.host.faults.append(hang_up)
    assert stage.stored(DATA)
    assert stage.host.blobs == {NAME: DATA}


@pytest.mark.parametrize("number", [400, 500, 503])
def test_an_upload_that_is_refused_may_be_taken_the_next_time(stage: Stage, number: int) -> None:
    stage.host.blobs.clear()
    stage.host.faults.append(status(number))
    assert stage.stored(DATA)


@pytest.mark.parametrize("number", [301, 401, 405, 411, 501])
def test_who_does_not_take_uploads_is_left_alone(stage: Stage, number: int) -> None:
    stage.host.always = status(number)
    assert not stage.stored(DATA)
    assert not stage.stored(DATA)
    assert len(stage.host.requests) == 1


@pytest.mark.parametrize("named", [{}, {"Taskyard_Blob": result_name(bytes(16), 2)}])
def test_a_success_of_another_program_at_that_port_is_not_believed(
    stage: Stage, named: dict[str, str]
) -> None:
    stage.host.blobs.clear()
    stage.host.always = status(201, **named)
    assert not stage.stored(DATA)
    assert not stage.stored(DATA)
    assert len(stage.host.requests) == 1


def test_a_provider_need_not_name_the_blob_because_the_control_plane_looks(stage: Stage) -> None:
    stage.host.blobs.clear()
    stage.host.always = status(200)
    stage.plane.confirm = True
    assert stage.stored(DATA)


def test_a_file_that_is_damaged_is_not_sent(stage: Stage, tmp_path: Path) -> None:
    stage.plane.confirm = True
    for damaged in (DATA[:-1], DATA[:-1] + b"!", DATA + b"!"):
        (tmp_path / "result").write_bytes(damaged)
        with pytest.raises(DigestMismatch):
            stage.stored(DATA, FileSource(tmp_path / "result"))
    assert stage.host.requests == []


def test_a_file_that_is_too_short_is_not_waited_for(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(DATA[:-1])
    stage.host.blobs.clear()
    assert not stage.stored(DATA, FileSource(tmp_path / "result"))


def test_a_file_that_is_not_there(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        stage.stored(DATA, FileSource(tmp_path / "result"))


def test_a_transfer_that_is_cancelled_has_ended_when_that_is_known(stage: Stage) -> None:
    stage.host.blobs[NAME] = LARGE
    reading = asyncio.Event()

    class Slow(MemoryTarget):
        def put(self, start: int, part: memoryview) -> None:
            loop.call_soon_threadsafe(reading.set)

    def never_end(handler: Handler, data: bytes) -> None:
        handler.send(data, 2_000_000)
        handler.connection.recv(1)

    stage.host.always = never_end

    async def cancel() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        plane: Any = stage.plane
        task = asyncio.create_task(stage.transfers.fetch(plane, ref_of(LARGE), Slow(len(LARGE))))
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop: Any = None
    asyncio.run(cancel())
    assert not [thread for thread in threading.enumerate() if thread.name == "blob range"]


@pytest.mark.parametrize("fault", [status(403), status(500), status(302), cut(0)])
def test_nothing_that_lets_one_in_is_said(stage: Stage, fault: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "taskyard_contract")
    stage.host.always = fault
    stage.fetched(DATA)
    stage.stored(DATA)
    assert "blobs go through the control plane for a minute: 127.0.0.1:" in caplog.text
    assert SECRET not in caplog.text
    assert NAME not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "/path", "ftp://host/x", "http://", "https://[::1/x", "http://host:99999/"]
)
def test_a_grant_that_leads_nowhere(url: str) -> None:
    with pytest.raises(Unusable) as caught:
        where_of(pb.TransferGrant(url=url), "127.0.0.1:4700")
    assert caught.value.__cause__ is None


def test_a_grant_that_is_no_request_is_not_sent(stage: Stage) -> None:
    broken = pb.GrantTransfersResponse()
    broken.reads.add(name=NAME, url="/a b\r\nX: y", port=stage.plane.port)

    async def grant(request: Any, timeout: float) -> Any:
        return broken

    stage.plane.GrantTransfers = grant  # type: ignore[method-assign]
    assert stage.fetched(DATA) is None
    assert stage.host.requests == []


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("plane.example:4700", "plane.example"), ("plane.example", "plane.example"),
        ("[::1]:4700", "::1"), ("[::1]", "::1"), ("unix:/run/x.sock", "127.0.0.1"),
    ],
)  # fmt: skip
def test_a_port_is_one_of_the_host_of_the_control_plane(address: str, host: str) -> None:
    where = where_of(pb.TransferGrant(url="/b/x?s=1", port=4702), address)
    assert (where.host, where.port, where.path) == (host, 4702, "/b/x?s=1")
    assert host_of(address) == host


def test_a_url_has_all_that_is_needed() -> None:
    where = where_of(pb.TransferGrant(url="https://bucket.example/yard/x?a=%2F", headers={"A": "b"}), "")
    assert where[:4] == ("https", "bucket.example", 443, "/yard/x?a=%2F")
    assert where.headers == {"A": "b"}
