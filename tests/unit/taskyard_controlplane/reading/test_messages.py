"""A run for a client: the end from the database, open states from the owner."""

from typing import Any

from taskyard_api.v1 import common_pb2, failure_pb2, session_service_pb2, states_pb2, template_pb2
from taskyard_contract.states import RunKind, RunState, StateReason, UpstreamKind
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading import messages
from taskyard_controlplane.storage.interface import EventRow, ListedRun, StoredLog, StoredRun

TEMPLATE = template_pb2.RunTemplate(
    kind=states_pb2.RUN_KIND_TASK,
    name="add",
    task_key="key",
    queue="default",
    encoding="json/plain",
    tags=["a", "b"],
)


def listed(state: int, **changes: Any) -> ListedRun:
    run = StoredRun(
        seq=1, run_id=b"r" * 16, kind=RunKind.TASK, state=state, reason=0, flow_seq=7, caller_id=b"p" * 16,
        session_id=None, template_id=1, ordinal=3, name=None, args=None, args_blob=None, cache_key="k",
        upstream=b"u" * 16 + bytes([UpstreamKind.ORDER]), submitted_us=100, headers=None, attempt=1,
        infra_retries=0, epoch=0, started_us=None, ended_us=None, result=None, outcome=None,
    )  # fmt: skip
    return ListedRun(run._replace(**changes), TEMPLATE.SerializeToString(), b"f" * 16)


def test_a_run_carries_its_template_and_relations() -> None:
    run = messages.run_message(listed(RunState.READY))
    assert (run.name, run.task_name, run.task_key, run.queue) == ("add-3", "add", "key", "default")
    assert (run.flow_run_id, run.caller_run_id, run.cache_key) == (b"f" * 16, b"p" * 16, "k")
    assert [(edge.run_id, edge.kind) for edge in run.upstream] == [(b"u" * 16, UpstreamKind.ORDER)]
    assert list(run.tags) == ["a", "b"]


def test_a_chosen_name_wins() -> None:
    assert messages.run_message(listed(RunState.READY, name="mine")).name == "mine"
    outcome = session_service_pb2.RunOutcome(run_name="rendered").SerializeToString()
    assert messages.run_message(listed(RunState.COMPLETED, name="mine", outcome=outcome)).name == "rendered"


def test_an_ordinary_result_is_sent_in_the_templates_encoding() -> None:
    ended = listed(RunState.COMPLETED, result=b"5", started_us=150, ended_us=200)
    assert not messages.run_message(ended).HasField("result")
    run = messages.run_message(ended, include_result=True)
    assert (run.result.encoding, run.result.data) == ("json/plain", b"5")
    assert (run.started_us, run.ended_us) == (150, 200)


def test_another_outcome_carries_its_failure_name_and_value() -> None:
    outcome = session_service_pb2.RunOutcome(
        state_name="Rejected",
        message="why",
        failure=failure_pb2.Failure(type="ValueError"),
        result=common_pb2.Payload(encoding="x", data=b"1"),
    )
    ended = listed(RunState.FAILED, outcome=outcome.SerializeToString(), reason=StateReason.STATE_BY_HAND)
    run = messages.run_message(ended, include_result=True)
    assert (run.state_name, run.message, run.failure.type) == ("Rejected", "why", "ValueError")
    assert (run.result.encoding, run.reason) == ("x", StateReason.STATE_BY_HAND)


def test_an_open_run_is_what_the_owner_says() -> None:
    live = LiveState(RunState.RUNNING, 0, 2, 1, 400, "local")
    run = messages.run_message(listed(RunState.READY), live)
    assert (run.state, run.attempt, run.infra_retries) == (RunState.RUNNING, 2, 1)
    assert (run.started_us, run.agent_name) == (400, "local")


def test_what_an_open_run_said_last_is_told_in_full_only() -> None:
    said = common_pb2.Payload(encoding="json/plain", data=b"[1]")
    live = LiveState(RunState.RUNNING, 0, 2, 1, 400, "local", progress=said.SerializeToString())
    full = messages.run_message(listed(RunState.READY), live, full=True)
    assert full.progress == said
    assert not messages.run_message(listed(RunState.READY), live).HasField("progress")


def test_the_end_in_the_database_beats_the_owner() -> None:
    live = LiveState(RunState.RUNNING, 0, 1, 0, 400, "local")
    run = messages.run_message(listed(RunState.COMPLETED, ended_us=500), live)
    assert (run.state, run.agent_name) == (RunState.COMPLETED, "")


def test_an_event_explains_the_state_it_led_to_and_no_later_one() -> None:
    event = EventRow(1, 200, RunState.AWAITING_RETRY, StateReason.TIMED_OUT, 2, 0, 0, 300, None, "too slow")
    waiting = LiveState(RunState.AWAITING_RETRY, StateReason.TIMED_OUT, 2, 0, None, "")
    run = messages.run_message(listed(RunState.READY), waiting, event)
    assert (run.reason, run.message, run.attempt) == (StateReason.TIMED_OUT, "too slow", 2)
    running = LiveState(RunState.RUNNING, 0, 2, 0, 400, "local")
    run = messages.run_message(listed(RunState.READY), running, event)
    assert (run.reason, run.message) == (StateReason.NONE, "")


def test_logs_become_columns() -> None:
    batch = messages.log_batch([StoredLog(1, b"r" * 16, 5, 20, "mine", "hello", "add-3")])
    assert (list(batch.messages), list(batch.levels), list(batch.run_names)) == (["hello"], [20], ["add-3"])
