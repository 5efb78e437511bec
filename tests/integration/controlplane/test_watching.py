"""WatchRuns over real gRPC: nothing that happens is missed, whoever comes, goes and comes back."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support.following import Watching

from taskyard_api.v1 import run_service_pb2, session_service_pb2, states_pb2, template_pb2
from taskyard_contract.errors import (
    InvalidRequest,
    Overloaded,
    ServerStopping,
    TaskyardError,
    WatchExpired,
)
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import ReportKind, RunState
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.settings import PeerSettings

pb = run_service_pb2
S = RunState

Watch = Callable[..., Watching]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Begin watches; they end with the test."""
    open_: list[Watching] = []

    def begin(served: Any, token: str = "", **fields: Any) -> Watching:
        options = {name: fields.pop(name) for name in ("include_result",) if name in fields}
        open_.append(Watching(served.runs, token, filter=pb.RunFilter(**fields), **options))
        return open_[-1]

    yield begin
    for each in open_:
        each.close()


def refused(watching: Watching) -> TaskyardError:
    with pytest.raises(TaskyardError) as caught:
        watching.to_the_end()
    return caught.value


def finish(agent: Any, count: int = 1, result: bytes = b"3") -> None:
    for epoch, run_id in agent.take(count):
        agent.report(epoch, run_id, result)


def test_a_watch_begins_with_what_is_there_and_goes_on_with_what_comes(
    on_either: Any, connect_agent: Any, watch: Watch
) -> None:
    served, agent = on_either, connect_agent(on_either)
    [before] = served.submit()
    watching = watch(served).caught_up()
    assert watching.states == {before: [S.READY]}
    [after] = served.submit()
    watching.until_state(after, S.READY)
    finish(agent, 2)
    for run_id in (before, after):
        run = watching.until_state(run_id, S.COMPLETED)
        assert not run.HasField("result"), "nobody asked for it"


def test_states_that_are_not_durable_are_told_too(served: Any, agent: Any, watch: Watch) -> None:
    [run_id] = served.submit()
    watching = watch(served, run_ids=[run_id], include_result=True).caught_up()
    [(epoch, _)] = agent.take(1)
    run = watching.until_state(run_id, S.ASSIGNED)
    assert (run.agent_name, run.agent_id) == ("small", "id-small")
    agent.started(epoch, run_id)
    watching.until_state(run_id, S.RUNNING)
    agent.report(epoch, run_id, b"3")
    assert watching.until_state(run_id, S.COMPLETED).result.data == b"3"


def test_only_runs_that_fit_are_told(served: Any, agent: Any, watch: Watch) -> None:
    watching = watch(served, task_name="mul", tags=["nightly"]).caught_up()
    served.submit(name="add", tags=["nightly"])
    served.submit(name="mul", tags=["weekly"])
    [wanted] = served.submit(name="mul", tags=["nightly", "big"])
    finish(agent, 3)
    watching.until_state(wanted, S.COMPLETED)
    assert set(watching.states) == {wanted}


def test_a_run_that_fits_no_more_is_told_once_as_it_is(served: Any, agent: Any, watch: Watch) -> None:
    watching = watch(served, states=[S.READY]).caught_up()
    first, second = served.submit(2)
    watching.until(lambda: watching.states.keys() >= {first, second})
    [(epoch, taken)] = agent.take(1)
    watching.until_state(taken, S.ASSIGNED)
    agent.started(epoch, taken)
    agent.report(epoch, taken, b"3")
    agent.wait_reported()
    [third] = served.submit()
    watching.until_state(third, S.READY)
    assert watching.states[taken] == [S.READY, S.ASSIGNED], "what it became later is nobody's business"
    assert {first, second} > {taken}


def test_a_watch_goes_on_after_its_last_token(on_either: Any, connect_agent: Any, watch: Watch) -> None:
    served, agent = on_either, connect_agent(on_either)
    [run_id] = served.submit()
    former = watch(served, kind=states_pb2.RUN_KIND_TASK).caught_up()
    former.close()
    [other] = served.submit()
    finish(agent, 2)
    agent.wait_reported()
    watching = watch(served, former.token, kind=states_pb2.RUN_KIND_TASK)
    assert watching.next().caught_up, "it was, when the token was given"
    assert watching.until_state(run_id, S.COMPLETED)
    assert watching.until_state(other, S.COMPLETED)


def test_a_watch_of_open_states_that_goes_on_tells_what_may_have_been_told_to_fit(
    served: Any, agent: Any, watch: Watch
) -> None:
    [run_id] = served.submit()
    former = watch(served, states=[S.READY]).caught_up()
    assert former.states == {run_id: [S.READY]}
    former.close()
    finish(agent)
    agent.wait_reported()
    watch(served, former.token, states=[S.READY]).until_state(run_id, S.COMPLETED)


def test_a_beginning_that_was_interrupted_goes_on_too(
    served: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.rpc.watching.MOST_AT_ONCE", 2)
    ids = served.submit(7)
    former = watch(served)
    assert not former.next().caught_up
    former.close()
    watching = watch(served, former.token).caught_up()
    assert [*former.order[:2], *watching.order] == ids[::-1]


def test_runs_of_a_flow_run_can_be_watched_before_there_is_one(served: Any, watch: Watch) -> None:
    flow = new_id()
    watching = watch(served, flow_run_id=flow).caught_up()
    assert not watching.runs
    served.submit(3)
    inside = new_ids(3)
    stream = served.session(
        session_service_pb2.ClientFrame(
            submit=session_service_pb2.SubmitBatch(
                number=1,
                templates=[
                    _definition(1, states_pb2.RUN_KIND_FLOW),
                    _definition(2, states_pb2.RUN_KIND_TASK),
                ],
                groups=[
                    session_service_pb2.RunGroup(template=1, run_ids=[flow], args=[b""]),
                    session_service_pb2.RunGroup(
                        template=2, run_ids=inside, flow_run_id=flow, args=[b""] * 3
                    ),
                ],
            )
        )
    )
    next(stream)
    watching.until(lambda: watching.runs.keys() >= set(inside))
    assert watching.runs.keys() == set(inside)
    [other] = served.submit()
    served.runs.CancelRun(pb.CancelRunRequest(run_id=flow), timeout=10)
    for run_id in inside:
        watching.until_state(run_id, S.CANCELLED)
    assert other not in watching.runs


def _definition(index: int, kind: Any) -> template_pb2.TemplateDefinition:
    template = template_pb2.RunTemplate(
        kind=kind, name="inside", queue="nobody", encoding="json/plain",
        code=template_pb2.Code(task_name="inside"),
    )  # fmt: skip
    return template_pb2.TemplateDefinition(index=index, template=template)


def test_a_failure_is_told_with_its_message(served: Any, agent: Any, watch: Watch) -> None:
    [run_id] = served.submit()
    watching = watch(served).caught_up()
    [(epoch, _)] = agent.take(1)
    agent.report(epoch, run_id, b"", kind=ReportKind.FAILED, message="no")
    assert watching.until_state(run_id, S.FAILED).message == "no"


def test_results_are_told_in_messages_that_every_client_takes(
    served: Any, agent: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 60_000
    watching = watch(served, include_result=True).caught_up()
    served.submit(60)
    finish(agent, 60, b"x" * size)
    ended: dict[bytes, int] = {}
    while len(ended) < 60:
        message = watching.next()
        ended.update({run.run_id: len(run.result.data) for run in message.runs if run.state == S.COMPLETED})
        assert message.ByteSize() < 2 * 1024 * 1024
    assert set(ended.values()) == {size}


def test_who_is_behind_is_told_in_turns_and_misses_nothing(
    served: Any, agent: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.rpc.watching.FEW_CHANGES", 0)
    monkeypatch.setattr("taskyard_controlplane.rpc.watching.CHANGES_AT_ONCE", 3)
    all_of_it = [watch(served).caught_up() for _ in range(3)]
    ids = served.submit(20)
    finish(agent, 20)
    for watching in all_of_it:
        for run_id in ids:
            watching.until_state(run_id, S.COMPLETED)


def test_those_who_hear_nothing_get_a_token_now_and_then(
    served: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.rpc.watching.QUIET_SECONDS", 0.05)
    watching = watch(served, task_name="nothing like it").caught_up()
    first = watching.token
    served.submit(2)
    watching.until(lambda: watching.token != first)
    assert not watching.runs


def test_those_who_are_told_nothing_while_much_happens_get_tokens_in_time(
    served: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.owner.journal.changes.MOST_KEPT", 100)
    monkeypatch.setattr("taskyard_controlplane.rpc.watching.BOOKMARK_SECONDS", 0.0)
    watching = watch(served, task_name="nothing like it").caught_up()
    first = watching.token
    for _ in range(5):
        before = watching.token
        while watching.token == before:
            served.submit(40)
            served.submit(40)
            watching.next()
    assert not watching.runs
    watching.close()
    assert isinstance(refused(watch(served, first, task_name="nothing like it")), WatchExpired)
    assert watch(served, watching.token, task_name="nothing like it").next().caught_up


def test_for_who_watches_ends_nothing_else_is_read(
    served: Any, agent: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    changed = RunReader.changed

    async def noted(self: Any, recorded: Any, run_ids: Any, **options: Any) -> Any:
        read.extend(run_ids)
        return await changed(self, recorded, run_ids, **options)

    monkeypatch.setattr(RunReader, "changed", noted)
    watching = watch(served, states=[S.FAILED, S.CANCELLED]).caught_up()
    cancelled, *others = served.submit(5)
    served.runs.CancelRun(pb.CancelRunRequest(run_id=cancelled), timeout=10)
    finish(agent, 3)
    [(epoch, failed)] = agent.take(1)
    agent.report(epoch, failed, b"", kind=ReportKind.FAILED, message="no")
    for run_id, state in ((cancelled, S.CANCELLED), (failed, S.FAILED)):
        watching.until_state(run_id, state)
    assert set(watching.states) == set(read) == {cancelled, failed} < {cancelled, *others}


def test_a_token_of_another_filter_is_refused(served: Any, watch: Watch) -> None:
    token = watch(served, task_name="add").caught_up().token
    error = refused(watch(served, token, task_name="mul"))
    assert isinstance(error, InvalidRequest)
    assert "another request" in str(error)
    page = served.runs.ListRuns(pb.ListRunsRequest(page_size=1), timeout=10)
    for other in ("nonsense", page.next_page_token or "AA"):
        assert isinstance(refused(watch(served, other)), InvalidRequest)


def test_a_filter_that_cannot_be_is_refused(served: Any, watch: Watch) -> None:
    assert isinstance(refused(watch(served, run_ids=[b"short"])), InvalidRequest)
    assert isinstance(refused(watch(served, tags=["x" * 2_000])), InvalidRequest)


def test_nothing_is_missed_between_the_beginning_and_what_comes(
    on_either: Any, connect_agent: Any, watch: Watch
) -> None:
    """Runs are submitted and end all the while that watches begin, break off and come back."""
    served, agent = on_either, connect_agent(on_either)
    ids: list[bytes] = []
    watching = watch(served)
    for turn in range(12):
        ids += served.submit(20)
        finish(agent, 20)
        if turn % 3 == 2:
            watching.next()
            watching.close()
            former, watching = watching, watch(served, watching.token)
            watching.states = former.states
    agent.wait_reported()
    watching.until(lambda: all(S.COMPLETED in watching.states.get(run_id, ()) for run_id in ids))


def test_an_attempt_of_a_flow_run_that_failed_is_told(served: Any, watch: Watch) -> None:
    """Nothing follows from it for anybody else: its session starts the next one itself."""
    flow = new_id()
    watching = watch(served, run_ids=[flow]).caught_up()
    definition = _definition(1, states_pb2.RUN_KIND_FLOW)
    definition.template.retry.max_retries = 1
    group = session_service_pb2.RunGroup(template=1, run_ids=[flow], args=[b""])
    batch = session_service_pb2.SubmitBatch(number=1, templates=[definition], groups=[group])
    started, failed = (session_service_pb2.FlowReport(run_id=flow, event=event) for event in (1, 3))
    stream = served.session(
        session_service_pb2.ClientFrame(submit=batch, flow_reports=[started]),
        session_service_pb2.ClientFrame(flow_reports=[failed]),
    )
    next(stream)
    assert watching.until_state(flow, S.AWAITING_RETRY).attempt == 2


def test_a_token_that_is_too_old_has_expired(
    served: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.owner.journal.changes.MOST_KEPT", 3)
    former = watch(served).caught_up()
    token = former.token
    ids = [served.submit()[0] for _ in range(6)]
    former.until(lambda: former.runs.keys() >= set(ids))
    assert isinstance(refused(watch(served, token)), WatchExpired)
    watch(served, former.token).caught_up()


def test_a_token_of_a_server_before_has_expired(serve: Any, watch: Watch) -> None:
    first = serve()
    token = watch(first).caught_up().token
    first.stop()
    second = serve()
    error = refused(watch(second, token))
    assert isinstance(error, WatchExpired)
    assert "restarted" in str(error)


def test_who_reads_too_slowly_has_to_list_again(
    served: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.owner.journal.changes.MOST_PENDING", 10)
    watching = watch(served, task_name="add").caught_up()
    served.submit(200)
    error = refused(watching)
    assert isinstance(error, WatchExpired)
    assert "behind" in str(error)


def test_a_server_that_stops_ends_watches_with_a_reason(serve: Any, watch: Watch) -> None:
    served = serve()
    watching = watch(served).caught_up()
    served._run(_begin_stop(served))
    assert isinstance(refused(watching), ServerStopping)


async def _begin_stop(served: Any) -> None:
    await served.plane.stop()


def test_there_is_room_for_so_many_watchers_and_no_more(serve: Any, watch: Watch) -> None:
    served = serve(peers=PeerSettings(max_followers=2))
    first = watch(served).caught_up()
    watch(served).caught_up()
    error = refused(watch(served))
    assert isinstance(error, Overloaded)
    assert error.limit == 2
    first.close()
    while True:  # that it has gone is noticed a moment later
        again = watch(served)
        try:
            again.caught_up()
        except Overloaded:
            continue
        break


def test_nothing_is_kept_of_watchers_that_left(served: Any, watch: Watch) -> None:
    changes = served.plane.owner.changes
    assert not changes.watched
    watching = watch(served).caught_up()
    assert (changes.watched, len(changes)) == (True, 1)
    watching.close()
    other = watch(served).caught_up()
    while len(changes) > 1:
        served.submit()
        other.next()


def test_a_request_that_is_no_message_is_refused(served: Any) -> None:
    call = served.channel.unary_stream("/taskyard_api.v1.RunService/WatchRuns")
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(call(b"\xff\xff", timeout=10)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
