"""What a client with a session may meet: one stream, over which it submits and is told what came of it.

Each script is one conversation, with one run in it: ``kit.add`` with 3 and 4.
"""

from conformance.client_link import HEARTBEAT_MS, Asked, ClientLink, greet, meet
from conformance.plane import Plane
from conformance.things import JSON
from conformance.verdict import demand
from google.rpc import code_pb2

from taskyard_api.v1 import common_pb2, failure_pb2, states_pb2
from taskyard_api.v1 import errors_pb2 as ep
from taskyard_api.v1 import session_service_pb2 as sp

RETRY_AFTER_MS = 400


async def submit(plane: Plane) -> None:
    """Open a session, submit ``kit.add`` with 3 and 4, send heartbeats, print 7 and say goodbye."""
    link = await meet(plane, Asked())
    run_id = await link.submitted()
    await link.acknowledge()
    await link.until(lambda: link.heartbeats >= 3, "third heartbeat", within=5 + 6 * HEARTBEAT_MS / 1000)
    await link.send(_results(_seven(run_id)))
    await link.left()


async def failed(plane: Plane) -> None:
    """Submit ``kit.add`` with 3 and 4: it fails; tell why, and end with another code than 0."""
    link = await meet(plane, Asked())
    run_id = await link.submitted()
    await link.acknowledge()
    failure = failure_pb2.Failure(type="ValueError", message="no good", source="python")
    ended = sp.RunOutcome(
        run_id=run_id, state=states_pb2.RUN_STATE_FAILED, message="no good", failure=failure
    )
    await link.send(_results(ended))
    await link.left()


async def refused(plane: Plane) -> None:
    """Submit ``kit.add``: the run is refused; say so, and end with another code than 0."""
    link = await meet(plane, Asked())
    run_id = await link.submitted()
    detail = ep.ErrorDetail(reason=ep.ERROR_REASON_RUN_EXISTS, run_id=run_id)
    await link.refuse(run_id, detail, code_pb2.ALREADY_EXISTS, "this run was submitted before")
    await link.left()


async def overloaded(plane: Plane) -> None:
    """Submit ``kit.add`` with 3 and 4: no room for the run at first; the same in a later batch; print 7."""
    asked = Asked()
    link = await meet(plane, asked)
    run_id = await link.submitted()
    detail = ep.ErrorDetail(reason=ep.ERROR_REASON_OVERLOADED, run_id=run_id, retry_after_ms=RETRY_AFTER_MS)
    told = await link.refuse(run_id, detail, code_pb2.RESOURCE_EXHAUSTED, "too much waits")
    await link.until(lambda: link.number == 2, "second batch, with the run that there was no room for")
    _in_time("submitted the run again", asked.batches[2].at - told)
    await _finish(link, run_id)


async def crowded(plane: Plane) -> None:
    """Open a session: too many there already; again after the delay, as the same session; print 7."""
    asked = Asked()
    first = await plane.call("SessionService.Connect")
    await greet(first, asked)
    await first.refuse(
        code_pb2.RESOURCE_EXHAUSTED, ep.ERROR_REASON_OVERLOADED, "too many", retry_after_ms=RETRY_AFTER_MS
    )
    link = await meet(plane, asked)
    _in_time("opened another stream", link.at - first.at)
    await _finish(link, await link.submitted())


async def resume(plane: Plane) -> None:
    """Lose a batch, then a result, each with the stream; nothing is lost or done twice; print 7 once."""
    asked = Asked()
    first = await meet(plane, asked)
    run_id = await first.submitted()
    await first.hang_up()
    second = await meet(plane, asked)
    await second.until(lambda: second.number == 1, "batch 1, which was not acknowledged")
    await second.acknowledge()
    beats = second.heartbeats + 2  # by then the acknowledgement has been read
    await second.until(lambda: second.heartbeats >= beats, "heartbeat after an acknowledgement")
    await second.hang_up()
    third = await meet(plane, asked)
    await third.until(lambda: run_id in third.named, "subscription to a run that is still waited for")
    if third.number:
        await third.acknowledge()
    await third.send(_results(_seven(run_id)))
    await third.send(_results(_seven(run_id)))  # as it is when a result was on its way already
    await third.left()


async def restart(plane: Plane) -> None:
    """Be told that the server restarts: come back after the delay, ask for the run again; print 7 once."""
    asked = Asked()
    first = await meet(plane, asked)
    run_id = await first.submitted()
    await first.acknowledge()
    beats = first.heartbeats + 2
    await first.until(lambda: first.heartbeats >= beats, "heartbeat after an acknowledgement")
    told = await first.send_at(sp.SessionFrame(reconnect_after_ms=RETRY_AFTER_MS))
    await first.hang_up()
    second = await meet(plane, asked)
    _in_time("came back", second.at - told)
    await second.until(lambda: run_id in second.named, "subscription to a run that is still waited for")
    if second.number:
        await second.acknowledge()
    await second.send(_results(_seven(run_id)))
    await second.left()


async def unauthenticated(plane: Plane) -> None:
    """Open a session: not let in; one line about it, no second try, another code than 0."""
    call = await plane.call("SessionService.Connect")
    await call.refuse(
        code_pb2.UNAUTHENTICATED, ep.ERROR_REASON_UNAUTHENTICATED, "no credentials; set a token"
    )


async def _finish(link: ClientLink, run_id: bytes) -> None:
    await link.acknowledge()
    await link.send(_results(_seven(run_id)))
    await link.left()


def _in_time(what: str, passed: float) -> None:
    demand(
        passed * 1000 >= RETRY_AFTER_MS,
        f"the client {what} after {passed * 1000:.0f} ms, told to wait {RETRY_AFTER_MS}",
    )


def _seven(run_id: bytes) -> sp.RunOutcome:
    value = common_pb2.Payload(encoding=JSON, data=b"7")
    return sp.RunOutcome(run_id=run_id, state=states_pb2.RUN_STATE_COMPLETED, result=value, ended_us=1)


def _results(outcome: sp.RunOutcome) -> sp.SessionFrame:
    """An outcome as servers send it: only pickles travel as columns."""
    return sp.SessionFrame(results=sp.ResultBatch(others=[outcome]))
