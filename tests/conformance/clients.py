"""What a client may meet. Each script is one conversation, from the first call to the last."""

from conformance.plane import Call, Plane
from conformance.things import (
    KNOWN_RUN,
    OTHER_RUN,
    check_arguments,
    check_new_id,
    check_template,
    completed,
    run,
)
from conformance.verdict import demand, same
from google.protobuf.message import Message
from google.rpc import code_pb2

from taskyard_api.v1 import errors_pb2 as ep
from taskyard_api.v1 import failure_pb2, session_service_pb2, states_pb2
from taskyard_api.v1 import run_service_pb2 as rp

RETRY_AFTER_MS = 400


async def submit(plane: Plane) -> None:
    """Submit ``kit.add`` with 3 and 4, wait: lost once, not done once; print 7."""
    run_id = await _accept(plane)
    await (await _wait(plane, run_id)).hang_up()
    again = await _wait(plane, run_id)
    await again.answer(rp.WaitRunResponse(run=run(run_id, states_pb2.RUN_STATE_RUNNING)))
    last = await _wait(plane, run_id)
    await last.answer(rp.WaitRunResponse(run=completed(run_id, 7)))


async def failed(plane: Plane) -> None:
    """Submit ``kit.add`` with 3 and 4 and wait: it fails; tell why, and end with another code than 0."""
    run_id = await _accept(plane)
    waiting = await _wait(plane, run_id)
    failure = failure_pb2.Failure(type="ValueError", message="no good", source="python")
    ended = run(run_id, states_pb2.RUN_STATE_FAILED, message="no good", failure=failure)
    await waiting.answer(rp.WaitRunResponse(run=ended))


async def refused(plane: Plane) -> None:
    """Submit ``kit.add``: the run is refused; say so, wait for nothing, and end with another code than 0."""
    call = await plane.call("SubmitRuns")
    (new,) = call.request.runs
    detail = ep.ErrorDetail(reason=ep.ERROR_REASON_RUN_EXISTS, run_id=new.run_id)
    text = "this run was submitted before, with other content"
    one = session_service_pb2.RefusedRun(
        run_id=new.run_id, error=detail, message=text, code=code_pb2.ALREADY_EXISTS
    )
    await call.answer(rp.SubmitRunsResponse(refused=[one]))


async def overloaded(plane: Plane) -> None:
    """Submit ``kit.add`` with 3 and 4: no room at first; the same again after the delay; print 7."""
    first = await plane.call("SubmitRuns")
    await first.refuse(
        code_pb2.RESOURCE_EXHAUSTED, ep.ERROR_REASON_OVERLOADED, "too much", retry_after_ms=RETRY_AFTER_MS
    )
    second = await plane.call("SubmitRuns")
    passed = (second.at - first.at) * 1000
    demand(passed >= RETRY_AFTER_MS, f"repeated after {passed:.0f} ms, told to wait {RETRY_AFTER_MS}")
    same(second.request, first.request, "the repeated request")
    run_id = second.request.runs[0].run_id
    await second.answer(rp.SubmitRunsResponse())
    await (await _wait(plane, run_id)).answer(rp.WaitRunResponse(run=completed(run_id, 7)))


async def lost_answer(plane: Plane) -> None:
    """Submit ``kit.add`` with 3 and 4: the answer is lost; the same again, with the same id; print 7."""
    first = await plane.call("SubmitRuns")
    await first.hang_up()
    second = await plane.call("SubmitRuns")
    same(second.request, first.request, "the repeated request")
    run_id = second.request.runs[0].run_id
    await second.answer(rp.SubmitRunsResponse())
    await (await _wait(plane, run_id)).answer(rp.WaitRunResponse(run=completed(run_id, 7)))


async def watch(plane: Plane) -> None:
    """Watch two runs until both have ended: a lost stream, a token that is too old, a state that is new."""
    ids = [KNOWN_RUN.bytes, OTHER_RUN.bytes]
    first = await plane.call("WatchRuns")
    same(first.request.resume_token, "", "the first resume_token")
    same(sorted(first.request.filter.run_ids), sorted(ids), "filter.run_ids")
    running = [run(run_id, states_pb2.RUN_STATE_RUNNING) for run_id in ids]
    await _lost_after(first, rp.WatchRunsResponse(runs=running, resume_token="one", caught_up=True))
    second = await plane.call("WatchRuns")
    same(second.request.resume_token, "one", "the resume_token after a lost stream")
    same(second.request.filter, first.request.filter, "the filter after a lost stream")
    await _lost_after(second, rp.WatchRunsResponse(resume_token="two"))
    third = await plane.call("WatchRuns")
    same(third.request.resume_token, "two", "the resume_token after a message without runs")
    await third.send(rp.WatchRunsResponse(runs=[completed(ids[0], 7)], resume_token="three"))
    await third.refuse(code_pb2.OUT_OF_RANGE, ep.ERROR_REASON_WATCH_EXPIRED, "the token is too old")
    last = await plane.call("WatchRuns")
    same(last.request.resume_token, "", "the resume_token after WATCH_EXPIRED")
    # A new state that this client cannot know: final all the same, because it is not below 100.
    ended = [completed(ids[0], 7), run(ids[1], 177, state_name="Retired")]
    await last.send(rp.WatchRunsResponse(runs=ended, resume_token="four", caught_up=True))


async def tail(plane: Plane) -> None:
    """Tail the log of a run until it is complete: streams break; each record is printed once."""
    first = rp.TailRunLogsResponse(logs=_logs("first line"), next_page_token="one")
    await _lost_after(await _tail(plane, ""), first)
    await _lost_after(await _tail(plane, "one"), rp.TailRunLogsResponse(next_page_token="two"))
    await (await _tail(plane, "two")).hang_up()  # before its first message
    last = await _tail(plane, "two")
    await last.send(rp.TailRunLogsResponse(logs=_logs("second line", "third line"), next_page_token="three"))
    await last.answer(rp.TailRunLogsResponse(next_page_token="three", complete=True))


async def cancel(plane: Plane) -> None:
    """Cancel a run: the answer is lost once; then it is being cancelled, which is success."""
    for last in (False, True):
        call = await plane.call("CancelRun")
        same(call.request.run_id, KNOWN_RUN.bytes, "run_id")
        answer = rp.CancelRunResponse(state=states_pb2.RUN_STATE_CANCELLING)
        await (call.answer(answer) if last else call.hang_up())


async def unauthenticated(plane: Plane) -> None:
    """Submit ``kit.add``: not let in; one line about it, no second try, another code than 0."""
    call = await plane.call("SubmitRuns")
    await call.refuse(
        code_pb2.UNAUTHENTICATED, ep.ERROR_REASON_UNAUTHENTICATED, "no credentials; set a token"
    )


async def _accept(plane: Plane) -> bytes:
    call = await plane.call("SubmitRuns")
    same(len(call.request.runs), 1, "the number of runs")
    new = call.request.runs[0]
    check_new_id(new.run_id)
    check_template(new.template, "the template of a run")
    demand(call.request.namespace in ("", "default"), "namespace is neither empty nor 'default'")
    check_arguments(new.args, 3, 4)
    await call.answer(rp.SubmitRunsResponse())
    run_id: bytes = new.run_id
    return run_id


async def _wait(plane: Plane, run_id: bytes) -> Call:
    call = await plane.call("WaitRun")
    same(call.request.run_id, run_id, "run_id")
    demand(call.request.timeout_ms, "timeout_ms is 0: such a call does not wait")
    deadline = call.deadline()
    if deadline is not None:
        told = call.request.timeout_ms / 1000
        demand(deadline > told - 1, f"the deadline of {deadline:.1f} s ends a wait of {told:.1f} s")
    return call


async def _lost_after(call: Call, message: Message) -> None:
    """Send one message, and lose the stream.

    One that is waited for arrives before the end does. Of several, with some libraries, those that a program
    has not read yet are lost with the stream, and when it has read them nobody can tell from here.
    """
    await call.send(message)
    await call.hang_up()


async def _tail(plane: Plane, token: str) -> Call:
    call = await plane.call("TailRunLogs")
    same(call.request.run_id, KNOWN_RUN.bytes, "run_id")
    same(call.request.page_token, token, "page_token")
    return call


def _logs(*lines: str) -> session_service_pb2.LogBatch:
    count = len(lines)
    return session_service_pb2.LogBatch(
        run_ids=[KNOWN_RUN.bytes] * count,
        at_us=range(1, count + 1),
        levels=[20] * count,
        loggers=["kit"] * count,
        messages=lines,
        run_names=["kit-0"] * count,
    )
