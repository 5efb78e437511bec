"""What the scripts send and look for: templates, runs, chunks."""

import json
import time
from typing import Any
from uuid import UUID

from conformance.verdict import demand, same

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2, run_service_pb2, states_pb2, template_pb2

QUEUE = "kit"
JSON = "json/plain"
KNOWN_RUN = UUID("01900000-0000-7000-8000-000000000000")
"""The run that a program is told of on its command line."""
OTHER_RUN = UUID("01900000-0000-7000-8000-000000010000")


def template_of(task: str, **fields: Any) -> template_pb2.RunTemplate:
    """The template of a task by name, with JSON in and out."""
    return template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK,
        name=task,
        task_key=task,
        queue=QUEUE,
        code=template_pb2.Code(task_name=task),
        encoding=JSON,
        **fields,
    )


def arguments(*args: Any, **kwargs: Any) -> bytes:
    """The envelope of a call's arguments."""
    return json.dumps({"args": args, "kwargs": kwargs}).encode()


def referring(run_id: bytes) -> dict[str, str]:
    """What stands in arguments for the result of an upstream run."""
    return {"$taskyard.run": str(UUID(bytes=run_id))}


def run(run_id: bytes, state: int, **fields: Any) -> run_service_pb2.Run:
    """A run as a server tells of it."""
    return run_service_pb2.Run(
        run_id=run_id, kind=states_pb2.RUN_KIND_TASK, name="kit", task_name="kit.add", state=state, **fields
    )  # type: ignore[arg-type]


def completed(run_id: bytes, value: Any) -> run_service_pb2.Run:
    """A run that ended well."""
    payload = common_pb2.Payload(encoding=JSON, data=json.dumps(value).encode())
    return run(run_id, states_pb2.RUN_STATE_COMPLETED, result=payload, ended_us=time.time_ns() // 1000)


class Chunk:
    """Runs that are assigned together, under epochs that follow on."""

    def __init__(self, first_epoch: int, task: str, calls: list[bytes], **fields: Any) -> None:
        self.task = task
        self.ids = [new_id(position) for position in range(len(calls))]
        self.epochs = {run_id: first_epoch + position for position, run_id in enumerate(self.ids)}
        extras = fields.pop("extras", ())
        self.template = template_of(task, **fields)
        body = ap.ChunkBody(args=calls, ordinals=range(len(calls)), extras=extras)
        self.message = ap.AssignChunk(
            first_epoch=first_epoch,
            template=1,
            run_ids=b"".join(self.ids),
            body=body.SerializeToString(),
        )

    def key(self, position: int = 0) -> ap.RunKey:
        """Name one of the runs."""
        run_id = self.ids[position]
        return ap.RunKey(run_id=run_id, epoch=self.epochs[run_id])

    def part(self, first: int, count: int) -> ap.AssignChunk:
        """Some of the runs that follow on, as a chunk of their own."""
        whole, body = ap.ChunkBody.FromString(self.message.body), ap.ChunkBody()
        positions = range(first, first + count)
        body.args.extend(whole.args[first : first + count])
        body.ordinals.extend(whole.ordinals[first : first + count])
        inputs = zip(whole.input_positions, whole.input_ids, whole.inputs, strict=True)
        for position, run_id, data in inputs:
            if position in positions:
                body.input_positions.append(position - first)
                body.input_ids.append(run_id)
                body.inputs.append(data)
        body.others.extend(other for other in whole.others if other.run_id in body.input_ids)
        for extra in whole.extras:
            if extra.position in positions:
                body.extras.add().CopyFrom(extra)
                body.extras[-1].position -= first
        return ap.AssignChunk(
            first_epoch=self.message.first_epoch + first,
            template=self.message.template,
            run_ids=b"".join(self.ids[first : first + count]),
            body=body.SerializeToString(),
        )

    def again(self, first_epoch: int, attempt: int) -> "Chunk":
        """The same runs, assigned once more."""
        extras = [ap.AttemptExtra(position=at, attempt=attempt) for at in range(len(self.ids))]
        before = ap.ChunkBody.FromString(self.message.body)
        chunk = Chunk(first_epoch, self.task, list(before.args), extras=extras)
        chunk.ids = self.ids
        chunk.epochs = {run_id: first_epoch + position for position, run_id in enumerate(self.ids)}
        chunk.message.run_ids = b"".join(self.ids)
        return chunk


def new_id(position: int = 0) -> bytes:
    """A UUID version 7 in shard 0."""
    head = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | (position & 0xFFF) << 64
    return (head | 0b10 << 62 | (time.perf_counter_ns() & 0x3FFFFFFF) << 16).to_bytes(16, "big")


def check_new_id(run_id: bytes) -> None:
    """Demand that an id is one that a client may make."""
    same(len(run_id), 16, "the length of run_id")
    same(run_id[6] >> 4, 7, "the version of the UUID in run_id")
    same(run_id[8] >> 6, 0b10, "the variant of the UUID in run_id")
    same(run_id[14:], b"\0\0", "the shard in the last two bytes of run_id")
    made = int.from_bytes(run_id[:6], "big") / 1000
    demand(abs(made - time.time()) < 3600, "the time in run_id is not the present one, in milliseconds")


def check_template(template: template_pb2.RunTemplate, where: str) -> None:
    """Demand that a template is that of ``kit.add``."""
    same(template.kind, states_pb2.RUN_KIND_TASK, f"kind in {where}")
    same(template.queue, QUEUE, f"queue in {where}")
    same(template.code.task_name, "kit.add", f"code.task_name in {where}")
    same(template.encoding, JSON, f"encoding in {where}")
    demand(template.name, f"name in {where} is empty")


def check_arguments(payload: common_pb2.Payload, *args: Any) -> None:
    """Demand that arguments are an envelope of JSON."""
    demand(payload.encoding in ("", JSON), f"args.encoding is {payload.encoding!r}, not {JSON!r} or empty")
    try:
        envelope = json.loads(payload.data)
    except ValueError:
        envelope = None
    demand(isinstance(envelope, dict), f'args is {payload.data!r}, no JSON object with "args" and "kwargs"')
    demand(set(envelope) <= {"args", "kwargs"}, f"args has the unknown keys {sorted(envelope)}")
    same(envelope.get("args"), list(args), 'args["args"]')
    same(envelope.get("kwargs", {}), {}, 'args["kwargs"]')
