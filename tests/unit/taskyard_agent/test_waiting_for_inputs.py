"""While some runs execute, the large inputs of the next ones come."""

from support.pool_stage import Stage, play

from taskyard_agent.holding.blob_store import LARGE_BYTES
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_contract.id_factory import new_id


def assign_reader(stage: Stage, number: int, size: int) -> None:
    """Assign a run that reads a blob of its own."""
    chunk = pb.AssignChunk(first_epoch=1_000 + number, template=1, run_ids=new_id())
    chunk.body = pb.ChunkBody(args=[b""], ordinals=[number]).SerializeToString()
    chunk.blobs.append(common_pb2.BlobRef(name=f"b3-{number}", size=size))
    one = template_pb2.RunTemplate(name="reader")
    stage.pool.on_assign(chunk, template_pb2.TemplateDefinition(index=1, template=one))


def test_a_run_for_each_slot_takes_no_room_while_its_large_input_comes() -> None:
    async def scenario(stage: Stage) -> None:
        assert stage.pool.demand().window == 1
        assign_reader(stage, 1, LARGE_BYTES)
        assert stage.pool.demand().in_hand == 0
        assign_reader(stage, 2, LARGE_BYTES)
        assert stage.pool.demand().in_hand == 1, "no more of them than there are slots"

    play(scenario)


def test_a_run_whose_input_has_come_takes_room() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.ready()
        assign_reader(stage, 1, LARGE_BYTES)
        [fetch] = stage.pool.transfers._fetching
        stage.blobs.arrived.set()
        await fetch.task
        assert stage.pool.demand().in_hand == 1

    play(scenario)


def test_small_inputs_are_not_worth_it() -> None:
    async def scenario(stage: Stage) -> None:
        assign_reader(stage, 1, LARGE_BYTES - 1)
        assert stage.pool.demand().in_hand == 1

    play(scenario)


def test_the_server_is_told_what_is_kept_apart_from_its_store() -> None:
    async def scenario(stage: Stage) -> None:
        welcome = pb.AgentWelcome()
        stage.pool.on_welcome(welcome)
        assert stage.told.keeps_blob_bytes == stage.blobs.capacity
        stage.blobs.seen = "/the/store"
        stage.pool.on_welcome(welcome)
        assert stage.told.keeps_blob_bytes == 0

    play(scenario)


def test_what_was_gone_is_asked_for_again_for_a_new_run() -> None:
    """Whoever has lost a value stores it again, and submits again what needs it."""

    async def scenario(stage: Stage) -> None:
        stage.blobs.gone.add("b3-1")
        assign_reader(stage, 1, LARGE_BYTES)
        [fetch] = stage.pool.transfers._fetching
        stage.blobs.arrived.set()
        await fetch.task
        assert stage.blobs.here == {"b3-1"}

    play(scenario)
