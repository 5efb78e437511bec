"""However much there is to say: no frame is larger than the transport takes, and the order is kept."""

from hashlib import sha256

from support.owner_harness import World, play

from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.transport.channels import MAX_FRAME_BYTES


def test_logs_for_a_client_fit_into_frames() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        for _ in range(1_000):
            client.session.push_log((bytes(16), 1, 20, "logger", "x" * 32_768, "run"))
        frame = client.session.next_frame()
        assert frame is not None
        assert frame.ByteSize() < MAX_FRAME_BYTES

    play(scenario)


def test_code_for_an_agent_fits_into_frames() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        codes = [bytes([n]) * (1 << 20) for n in range(20)]
        for n, code in enumerate(codes):
            digest = sha256(code).digest()
            template = tp.RunTemplate(
                kind=1,
                name=f"t{n}",
                queue="default",
                encoding="x",
                code=tp.Code(blob_digest=digest),  # type: ignore[arg-type]
            )
            batch = sp.SubmitBatch(
                number=n + 1,
                templates=[tp.TemplateDefinition(index=n + 1, template=template)],
                groups=[sp.RunGroup(template=n + 1, run_ids=[new_id()], args=[b""])],
                blobs=[common_pb2.InlineBlob(digest=digest, data=code)],
            )
            await client.send(submit=batch)
        await it.settle()
        sizes, known, seen = list[int](), set[int](), 0
        while (frame := agent.agent.next_frame()) is not None:
            sizes.append(frame.ByteSize())
            known |= {definition.index for definition in frame.templates}
            assert {chunk.template for chunk in frame.chunks} <= known, "a chunk came before its template"
            seen += len(frame.chunks)
        assert max(sizes) < MAX_FRAME_BYTES, sizes
        assert seen == 20

    play(scenario)


def test_refusals_fit_into_frames() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        error = TaskyardError("the database has no room, or is read-only (database or disk is full); " * 3)
        for run_id in new_ids(60_000):
            client.session.refuse(run_id, error)
        client.session.acknowledge(1)
        told = 0
        while (frame := client.session.next_frame()) is not None:
            assert frame.ByteSize() < MAX_FRAME_BYTES, frame.ByteSize()
            told += len(frame.refused)
            assert bool(frame.submitted_up_to) == (told == 60_000), (
                "acknowledged before all refusals were told"
            )
        assert told == 60_000

    play(scenario)


def test_a_request_to_drain_is_repeated_on_a_new_stream() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent()
        it.owner.drain_agent("a")
        assert agent.agent.next_frame().drain  # lost with its stream
        agent.disconnect()
        again = it.agent(session_id=agent.session_id)
        frame = again.agent.next_frame()
        assert frame is not None
        assert frame.drain

    play(scenario)
