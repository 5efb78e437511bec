"""The pool's accounts: each run in hand is in one place, and leaves it once."""

import asyncio
import errno
import time
from pathlib import Path

import pytest
from support.agent_process import eventually
from support.pool_stage import DIGEST, Stage, ids, play

from taskyard_agent.holding.blob_transfers import refuse
from taskyard_agent.processes.terminating import Why
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.runner import frames
from taskyard_agent.runner.progress_board import note_run
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_contract.blobs.names import result_name, sha256_name
from taskyard_contract.errors import BlobNotFound
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import StateReason

NEEDED = sha256_name(DIGEST)
RESULT = result_name(b"r" * 16, 5)


def test_a_run_cancelled_while_its_blobs_come_never_starts() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(3, blobs=True)
        for _ in range(2):
            stage.pool.on_cancel(keys[1:2])
        assert stage.told.ended_runs == ids(keys[1:2])
        stage.blobs.arrived.set()
        await eventually(lambda: stage.pool.intake.queue.runs > 0)
        assert [key.run_id for span in stage.pool.intake.queue for key in span.run_keys()] == ids(keys[::2])
        assert stage.in_hand() == (2, 2)

    play(scenario)


def test_what_is_being_fetched_when_the_lease_is_lost_waits_for_what_the_server_says() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.ready()
        keys = stage.assign(2, blobs=True)
        stage.pool.on_doubt(True)
        stage.pool.on_lease_lost()
        stage.blobs.arrived.set()
        await eventually(lambda: stage.pool.intake.queue.runs > 0)
        assert (ids(list(stage.pool.held())), stage.worker().spans) == (ids(keys), {})
        stage.pool.on_drop(keys[:1])
        stage.pool.on_doubt(False)
        assert ids(list(stage.pool.held())) == ids(keys[1:])
        assert stage.worker().spans

    play(scenario)


def test_runs_whose_blobs_do_not_come_are_lost_and_take_no_room() -> None:
    async def scenario(stage: Stage) -> None:
        stage.blobs.error = BlobNotFound()
        stage.blobs.arrived.set()
        keys = stage.assign(2, blobs=True)
        await eventually(lambda: len(stage.told.lost_runs) == 2)
        assert (stage.told.lost_runs, stage.in_hand()) == (ids(keys), (0, 0))

    play(scenario)


def test_what_has_been_fetched_while_others_began_to_wait_goes_back() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1, blobs=True)
        nested = stage.assign(1, blobs=True, nested=True)
        waiting = await stage.crowd()
        stage.blobs.arrived.set()
        await eventually(lambda: stage.pool.intake.queue.runs == 1)
        assert stage.told.given_back == ids(keys)
        assert sorted(ids(list(stage.pool.held()))) == sorted(ids(nested + waiting))

    play(scenario)


def test_a_result_on_its_way_to_the_store_is_held_and_then_leaves() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1)
        far = await stage.ready()
        await eventually(lambda: bool(stage.worker().spans))
        number, start, _ = await stage.given(far)
        columns = pb.ReportColumns(exceptions=[_stored()]).SerializeToString()
        head = frames.REPORT_HEAD.pack(number, start, 1, 10, 1) + frames.BLOB_ENTRY.pack(
            RESULT.encode(), 9, 7
        )
        far.data.sendall(frames.pack(frames.REPORT, head, columns))
        await eventually(lambda: not stage.worker().spans)
        assert (ids(list(stage.pool.held())), stage.told.reported) == (ids(keys), [])
        stage.blobs.arrived.set()
        await eventually(lambda: bool(stage.told.reported))
        assert stage.in_hand() == (0, 0)

    play(scenario)


def _stored() -> pb.ReportException:
    result = common_pb2.Payload(blob=common_pb2.BlobRef(name=RESULT, size=9, checksum=7))
    return pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, result=result)


def test_an_exception_that_could_not_be_stored_leaves_its_words() -> None:
    failed = pb.ReportException(kind=pb.REPORT_KIND_FAILED)
    failed.failure.message = "why"
    failed.failure.encoded.blob.name = RESULT
    columns = pb.ReportColumns(exceptions=[failed, _stored()]).SerializeToString()
    words, value = pb.ReportColumns.FromString(refuse(columns, RESULT, "no room")).exceptions
    assert (words.failure.message, words.failure.HasField("encoded")) == ("why", False)
    assert (value.kind, value.failure.message) == (pb.REPORT_KIND_FAILED, "no room")
    assert not value.HasField("result")


def test_a_part_given_to_a_worker_may_be_taken_back_before_it_was_read() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(3)
        far = await stage.ready()
        await eventually(lambda: bool(stage.worker().spans))
        for expected in keys[:2]:
            number, start, stop = await stage.given(far)
            assert (stop - start, keys[start]) == (1, expected)
            far.report(number, start, 1, seconds=2)
            await eventually(lambda run=expected: run.run_id in stage.told.reported)
        # The third one: its position is 2, but a worker that has not read its chunk answers with 0.
        number, start, _ = await stage.given(far)
        stage.worker().revoke(number)
        far.revoked(number, 0)
        await eventually(lambda: number not in stage.worker().spans)
        assert (start, stage.in_hand(), ids(list(stage.pool.held()))) == (2, (1, 1), ids(keys[2:]))

    play(scenario)


def test_what_was_not_taken_back_can_be_asked_for_again() -> None:
    async def scenario(stage: Stage) -> None:
        stage.assign(1)
        far = await stage.ready()
        worker = stage.worker()
        await eventually(lambda: bool(worker.spans))
        [number] = worker.spans
        for _ in range(2):
            worker.revoke(number)
            worker.revoke(number)
            assert far.asked_back() == [number], "once until it is answered"
            far.revoked(number, frames.NOTHING_REVOKED)
            await eventually(lambda: not worker.revoking)

    play(scenario)


@pytest.mark.parametrize("confirm", [True, False], ids=["cancelled", "dropped"])
def test_a_cancelled_run_that_comes_back_is_not_given_to_another_worker(confirm: bool) -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1)
        far = await stage.ready()
        worker = stage.worker()
        await eventually(lambda: bool(worker.spans))
        (stage.pool.on_cancel if confirm else stage.pool.on_drop)(keys)
        [number] = far.asked_back()
        assert stage.told.ended_runs == [], "it may have started"
        far.revoked(number, 0)
        await eventually(lambda: not worker.spans)
        assert stage.told.ended_runs == (ids(keys) if confirm else [])
        assert (stage.pool.intake.queue.runs, stage.in_hand()) == (0, (0, 0))

    play(scenario)


def test_draining_asks_everything_back_and_takes_nothing_more() -> None:
    async def scenario(stage: Stage) -> None:
        first = stage.assign(1)
        far = await stage.ready()
        await eventually(lambda: bool(stage.worker().spans))
        queued, coming = stage.assign(1), stage.assign(1, blobs=True)
        stage.pool.on_drain()
        late = stage.assign(1)
        assert sorted(stage.told.given_back) == sorted(ids(queued + coming + late))
        assert (stage.told.draining, stage.left) == (True, [True])
        [number] = far.asked_back()
        far.revoked(number, 0)
        await asyncio.wait_for(stage.pool.emptied(), 5)
        assert first[0].run_id in stage.told.given_back

    play(scenario)


def test_workers_learn_the_servers_limits_whenever_they_come() -> None:
    async def scenario(stage: Stage) -> None:
        far = await stage.ready()
        stage.pool.on_welcome(pb.AgentWelcome(max_inline_bytes=7, max_payload_bytes=8))
        [(kind, body)] = far.received()
        assert (kind, frames.SETTINGS_BODY.unpack(body)) == (frames.SETTINGS, (7, 8))
        stage.zygote.exited(1, 0)
        far = await stage.ready(2)
        [(kind, body)] = far.received()
        assert (kind, frames.SETTINGS_BODY.unpack(body)) == (frames.SETTINGS, (7, 8))

    play(scenario)


def test_workers_learn_where_the_store_is_if_it_is_seen_here() -> None:
    async def scenario(stage: Stage) -> None:
        far = await stage.ready()
        stage.blobs.seen = "/a store"
        stage.pool.on_welcome(pb.AgentWelcome(max_inline_bytes=7, max_payload_bytes=8))
        [(kind, body)] = far.received()
        assert (kind, body) == (frames.SETTINGS, frames.SETTINGS_BODY.pack(7, 8) + b"/a store")
        stage.blobs.seen = ""
        stage.pool.on_welcome(pb.AgentWelcome(max_inline_bytes=7, max_payload_bytes=8))
        [(_, body)] = far.received()
        assert body == frames.SETTINGS_BODY.pack(7, 8), "it may be gone with the server that had it"

    play(scenario)


def test_room_is_told_of_and_templates_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_agent.holding.templates.MAX_TEMPLATES", 2)

    async def scenario(stage: Stage) -> None:
        keys = [stage.assign(1, template=number)[0] for number in range(1, 5)]
        assert len(stage.pool.templates) == 2
        before = stage.told.wakes
        stage.pool.on_drop(keys)
        assert stage.told.wakes > before
        assert stage.in_hand() == (0, 0)

    play(scenario)


def test_inputs_of_runs_in_hand_are_in_use() -> None:
    async def scenario(stage: Stage) -> None:
        stage.assign(1, blobs=True)
        assert set(stage.blobs.in_use()) == {NEEDED}

    play(scenario)


def test_inputs_that_were_removed_meanwhile_are_fetched_again() -> None:
    async def scenario(stage: Stage) -> None:
        stage.blobs.arrived.set()
        stage.assign(1, blobs=True)
        await eventually(lambda: stage.pool.intake.queue.runs == 1)
        stage.blobs.here.clear()
        far = await stage.ready()
        await eventually(lambda: bool(stage.worker().spans))
        assert stage.blobs.transfers == 2
        assert (await stage.given(far))[1:] == (0, 1)

    play(scenario)


def test_a_pool_with_runs_is_not_empty_and_starts_them_when_the_doubt_is_over() -> None:
    async def scenario(stage: Stage) -> None:
        far = await stage.ready()
        stage.pool.on_doubt(True)
        stage.assign(1)
        assert stage.pool.holdings.runs == 1
        assert not stage.worker().spans
        stage.pool.on_doubt(False)
        assert (await stage.given(far))[1:] == (0, 1)

    play(scenario)


def test_an_agent_that_leaves_starts_what_its_own_waiting_runs_may_wait_for() -> None:
    async def scenario(stage: Stage) -> None:
        far = await stage.ready()
        [waiting] = stage.assign(1)
        await eventually(lambda: bool(stage.worker().spans))
        number, start, _ = await stage.given(far)
        far.blocked()
        await eventually(lambda: stage.worker().blocked)
        [nested], [other] = stage.assign(1, nested=True), stage.assign(1)
        stage.pool.on_drain()
        assert stage.told.given_back == [other.run_id]
        second = await stage.ready(2)
        await eventually(lambda: bool(stage.worker(2).spans))
        second.report(*(await stage.given(second))[:2], 1)
        await eventually(lambda: stage.told.reported == [nested.run_id])
        far.blocked(False)
        far.report(number, start, 1)
        await asyncio.wait_for(stage.pool.emptied(), 5)
        assert stage.told.reported == [nested.run_id, waiting.run_id]

    play(scenario)


def test_an_agent_that_leaves_keeps_nothing_when_nobody_waits_for_it_any_more() -> None:
    async def scenario(stage: Stage) -> None:
        far = await stage.ready()
        stage.assign(1)
        await eventually(lambda: bool(stage.worker().spans))
        far.blocked()
        await eventually(lambda: stage.worker().blocked)
        [nested] = stage.assign(1, nested=True)
        stage.pool.on_drain()
        assert stage.told.given_back == []
        far.blocked(False)
        await eventually(lambda: stage.told.given_back == [nested.run_id])
        assert stage.pool.intake.queue.runs == 0

    play(scenario)


def test_a_body_that_came_when_nobody_waited_for_it_is_named_to_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tmp_path / "body"
    body.write_bytes(pb.ChunkBody(args=[b"arguments"], ordinals=[0]).SerializeToString())

    async def scenario(stage: Stage) -> None:
        monkeypatch.setattr(stage.blobs, "path", lambda blob: body)
        stage.assign(1)
        far = await stage.ready()
        await eventually(lambda: bool(stage.worker().spans))
        far.blocked()
        await eventually(lambda: stage.worker().blocked)
        chunk = pb.AssignChunk(first_epoch=9, template=1, run_ids=new_id(), nested=True)
        chunk.body_blob.digest = DIGEST
        template = template_pb2.RunTemplate(name="task 1")
        stage.pool.on_assign(chunk, template_pb2.TemplateDefinition(index=1, template=template))
        stage.pool.on_drain()
        stage.blobs.here.add(NEEDED)  # what was on its way comes in all the same
        stage.blobs.arrived.set()
        second = await stage.ready(2)
        await eventually(lambda: bool(stage.worker(2).spans))
        [given] = [frame for kind, frame in second.received() if kind == frames.CHUNK_IN_FILE]
        assert frames.blob_of(given[-frames.BLOB_ENTRY.size :]).name == NEEDED

    play(scenario)


def test_a_transfer_that_fails_as_none_should_ends_its_runs() -> None:
    async def scenario(stage: Stage) -> None:
        stage.blobs.error = ValueError("unforeseen")
        stage.blobs.arrived.set()
        keys = stage.assign(2, blobs=True)
        await eventually(lambda: len(stage.told.lost_runs) == 2)
        assert (stage.told.lost_runs, stage.in_hand()) == (ids(keys), (0, 0))

    play(scenario)


def test_runs_that_wait_for_others_are_not_looked_at_with_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    executing = WorkerHandle.executing

    def counted(worker: WorkerHandle) -> object:
        nonlocal looks
        looks += worker.blocked
        return executing(worker)

    async def scenario(stage: Stage) -> None:
        await stage.crowd()
        for number in (1, 2):
            [chunk] = stage.worker(number).spans
            stage.zygote.far[number].execute(chunk, 0)
        monkeypatch.setattr(WorkerHandle, "executing", counted)
        for _ in range(20):
            stage.pool._watchdog.look()
        assert looks == 4, "once to see each, once to judge it, and then when there may be news"

    play(scenario)


def test_a_result_without_room_is_lost_by_the_agent_which_then_takes_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(5)
        far = await stage.ready()
        stage.free_bytes = 0
        size = 50_000_000
        head = frames.UNSTORED_HEAD.pack(1, 0, size)
        far.data.sendall(frames.pack(frames.UNSTORED, head, b"No space left on device"))
        await eventually(lambda: stage.told.lost_runs == ids(keys[:1]))
        assert stage.told.reasons == [StateReason.AGENT_DISK_FULL]
        assert "No space left on device" in stage.told.condition
        assert stage.pool.demand().window == 0
        await eventually(lambda: len(stage.told.given_back) >= 4 or bool(far.asked_back()))
        late = stage.assign(2)
        assert stage.told.given_back[-2:] == ids(late)
        stage.free_bytes = size
        stage.look_at_disk()
        assert (stage.told.condition, stage.pool.demand().window > 0) == ("", True)

    play(scenario)


def test_arguments_without_room_are_the_trouble_of_the_agent() -> None:
    async def scenario(stage: Stage) -> None:
        stage.free_bytes = 0
        stage.blobs.error = OSError(errno.ENOSPC, "No space left on device")
        stage.blobs.arrived.set()
        keys = stage.assign(2, blobs=True)
        await eventually(lambda: len(stage.told.lost_runs) == 2)
        assert (stage.told.lost_runs, stage.in_hand()) == (ids(keys), (0, 0))
        assert stage.told.reasons == [StateReason.AGENT_DISK_FULL] * 2
        assert stage.told.condition

    play(scenario)


def test_a_run_is_ended_when_it_has_been_silent_for_too_long_and_not_while_it_waits() -> None:
    async def scenario(stage: Stage) -> None:
        stage.assign(1, heartbeat_timeout_ms=60_000)
        far = await stage.ready()
        worker, look = stage.worker(), stage.pool._watchdog.look
        await eventually(lambda: bool(worker.spans))
        [number] = worker.spans
        far.execute(number, 0)
        far.heartbeat(ago=120)  # of the run before: the start of this one counts
        for _ in range(2):
            look()
        assert worker.ending is None
        note_run(far._board.map, 0, number, 0, time.monotonic_ns() - 120 * 10**9)
        far.heartbeat(ago=1)
        for _ in range(3):
            look()
        assert worker.ending is None, "it has said something since it started"
        far.blocked()
        await eventually(lambda: worker.blocked)
        far.heartbeat(ago=70)
        for _ in range(2):
            look()
        assert worker.ending is None, "it waits for others"
        far.blocked(False)
        await eventually(lambda: not worker.blocked)
        for _ in range(2):
            look()
        assert worker.ending is not None
        assert worker.ending.why is Why.SILENT

    play(scenario)


def test_what_a_run_says_of_its_progress_is_handed_on() -> None:
    async def scenario(stage: Stage) -> None:
        [key] = stage.assign(1)
        far = await stage.ready()
        await eventually(lambda: bool(stage.worker().spans))
        far.say(pb.RunProgress(key=key, at_us=5))
        await eventually(lambda: bool(stage.told.progress_told))
        assert [(told.key, told.at_us) for told in stage.told.progress_told] == [(key, 5)]

    play(scenario)
