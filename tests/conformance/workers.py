"""What a worker on a stream may meet.

It serves ``kit.add``, ``kit.fail`` and ``kit.sleep`` in the queue ``kit``.
"""

import json

from conformance.link import HEARTBEAT_MS, Link, Told, meet
from conformance.plane import Plane
from conformance.things import JSON, Chunk, arguments, new_id, referring
from conformance.verdict import demand, same

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2, states_pb2

EPOCH = 7 << 32
"""Of the first run: an epoch does not fit into 32 bits."""


async def hello(plane: Plane) -> None:
    """Introduce itself, give credit, and send heartbeats when there is nothing to say."""
    link = await meet(plane, Told())
    await link.until(lambda: link.granted, "credit")
    await link.until(lambda: link.heartbeats >= 3, "third heartbeat", within=5 + 6 * HEARTBEAT_MS / 1000)


async def chunk(plane: Plane) -> None:
    """Execute three runs in order, and report each under its own epoch; then one more."""
    told = Told()
    link = await meet(plane, told)
    three = Chunk(EPOCH, "kit.add", [arguments(1, 2), arguments(3, 4), arguments(5, 6, 7)])
    await link.assign(three)
    await reported(link, three)
    same([result(told, run_id) for run_id in three.ids], [3, 7, 18], "the results of three runs")
    one = Chunk(EPOCH + 3, "kit.add", [arguments(1)])
    await link.assign(one)  # which needs credit that was raised since
    await reported(link, one)
    same(result(told, one.ids[0]), 1, "the result of the run after the chunk")


async def failure(plane: Plane) -> None:
    """Report what a task raised, say why, and execute the next attempt, which has a new epoch."""
    told = Told()
    link = await meet(plane, told)
    first = Chunk(EPOCH, "kit.fail", [arguments("no good")])
    await link.assign(first)
    await reported(link, first)
    _check_failed(told, first)
    second = first.again(EPOCH + 5, attempt=2)
    told.outcomes.clear()
    await link.assign(second)
    await reported(link, second)
    _check_failed(told, second)


async def mixed(plane: Plane) -> None:
    """Execute a chunk in which the second of three runs fails: the others complete."""
    told = Told()
    link = await meet(plane, told)
    three = Chunk(EPOCH, "kit.add", [arguments(1, 2), arguments("no number"), arguments(3, 4)])
    await link.assign(three)
    await reported(link, three)
    demand(told.outcomes[three.ids[1]].exception, "adding what is no number is reported as completed")
    same([result(told, three.ids[at]) for at in (0, 2)], [3, 7], "the results beside the failed run")


async def inputs(plane: Plane) -> None:
    """Put results of upstream runs into arguments, small ones and others; refuse what did not come along."""
    told = Told()
    link = await meet(plane, told)
    small, large, absent = new_id(1), new_id(2), new_id(3)
    calls = [arguments(1, referring(small)), arguments(referring(large), 2), arguments(referring(absent))]
    three = Chunk(EPOCH, "kit.add", calls)
    body = ap.ChunkBody.FromString(three.message.body)
    body.input_positions.extend([0, 1])
    body.input_ids.extend([small, large])
    body.inputs.extend([b"41", b""])
    value = common_pb2.Payload(encoding=JSON, data=b"40")
    body.others.add(run_id=large, state=states_pb2.RUN_STATE_COMPLETED, result=value)
    three.message.body = body.SerializeToString()
    await link.assign(three)
    await link.until(
        lambda: three.ids[2] in told.lost and told.outcomes.keys() >= set(three.ids[:2]),
        "report of two runs, and word that the third, whose upstream run is missing, was lost",
    )
    same([result(told, run_id) for run_id in three.ids[:2]], [42, 42], "the results with upstream runs")
    reason = states_pb2.StateReason.Name(told.lost[three.ids[2]].reason)
    same(reason, "STATE_REASON_CODE_UNAVAILABLE", "the reason why the third was lost")


async def unknown(plane: Plane) -> None:
    """Be given a run whose task it does not have: lost, CODE_UNAVAILABLE, and the stream goes on."""
    told = Told()
    link = await meet(plane, told)
    missing = Chunk(EPOCH, "kit.missing", [arguments()])
    await link.assign(missing)
    await link.until(lambda: missing.ids[0] in told.lost, "word that the run was lost")
    reason = states_pb2.StateReason.Name(told.lost[missing.ids[0]].reason)
    same(reason, "STATE_REASON_CODE_UNAVAILABLE", "the reason why it was lost")
    one = Chunk(EPOCH + 1, "kit.add", [arguments(1, 2)])
    await link.assign(one)
    await reported(link, one)


async def cancel(plane: Plane) -> None:
    """Tell that a run has started; end it when asked; confirm that, once it has ended."""
    told = Told()
    link = await meet(plane, told)
    long = Chunk(EPOCH, "kit.sleep", [arguments(300)])
    await link.assign(long)
    await link.until(lambda: long.ids[0] in told.started, "word that the run has started")
    await link.send(ap.ServerFrame(cancel=[long.key()]))
    await link.until(lambda: long.ids[0] in told.cancelled, "word that the run was cancelled")


async def timeout(plane: Plane) -> None:
    """End a run at the timeout of its template: the worker enforces it, and says TIMED_OUT."""
    told = Told()
    link = await meet(plane, told)
    long = Chunk(EPOCH, "kit.sleep", [arguments(300)], timeout_ms=300)
    await link.assign(long)
    run_id = long.ids[0]
    await link.until(
        lambda: run_id in told.lost or run_id in told.outcomes, "end of a run beyond its timeout"
    )
    lost, outcome = told.lost.get(run_id), told.outcomes.get(run_id)
    reason = lost.reason if lost else outcome.exception.reason if outcome and outcome.exception else 0
    same(states_pb2.StateReason.Name(reason), "STATE_REASON_TIMED_OUT", "the reason of its end")


async def resume(plane: Plane) -> None:
    """Lose the stream: come back, restate what is held and not acknowledged, repeat reports, go on."""
    told = Told()
    link = await meet(plane, told)
    long, short = Chunk(EPOCH, "kit.sleep", [arguments(3)]), Chunk(EPOCH + 1, "kit.add", [arguments(3, 4)])
    link.acknowledges = False
    await link.assign(short)
    await link.assign(long)
    await reported(link, short)
    await link.until(lambda: long.ids[0] in told.started, "word that the run has started")
    session, number = link.hello.session_id, link.numbers[-1]
    told.outcomes.clear()
    await link.hang_up()
    link = await meet(plane, told, held=(short.key(), long.key()), number=2)
    same(link.hello.session_id, session, "the session id after a lost stream")
    await reported(link, short)
    demand(min(link.numbers) <= number, "the repeated report came under a new number")
    await reported(link, long)
    await link.until(lambda: link.granted, "credit on the new stream")


async def drain(plane: Plane) -> None:
    """Drain when asked: take no more, say so, finish and report what is held, end the stream, end."""
    told = Told()
    link = await meet(plane, told)
    long = Chunk(EPOCH, "kit.sleep", [arguments(1)])
    await link.assign(long)
    await link.until(lambda: long.ids[0] in told.started, "word that the run has started")
    await link.send(ap.ServerFrame(drain=True))
    await link.until(lambda: link.draining, "word that the worker drains")
    await reported(link, long)
    await link.until(lambda: link.ended, "end of the stream")
    await link.end()


async def reported(link: Link, chunk: Chunk) -> None:
    """Wait until all runs of a chunk were reported."""
    outcomes = link.told.outcomes
    await link.until(lambda: outcomes.keys() >= set(chunk.ids), f"report of all runs of '{chunk.task}'")


def result(told: Told, run_id: bytes) -> object:
    """Return what a run returned."""
    outcome = told.outcomes[run_id]
    if outcome.exception is not None:
        succeeded = outcome.exception.kind == ap.REPORT_KIND_SUCCEEDED
        demand(succeeded, f"run {run_id.hex()} failed: {outcome.exception.message}")
        return json.loads(outcome.exception.result.data or outcome.result)
    return json.loads(outcome.result)


def _check_failed(told: Told, chunk: Chunk) -> None:
    exception = told.outcomes[chunk.ids[0]].exception or ap.ReportException()
    same(ap.ReportKind.Name(exception.kind), "REPORT_KIND_FAILED", "the kind of a failure")
    demand("no good" in exception.failure.message, "failure.message does not have the text of the error")
    demand(exception.failure.type, "failure.type is empty")
    demand(exception.failure.source, "failure.source does not name a language")
    demand(not exception.not_retriable, "an ordinary failure was called not retriable")
