"""Why a run waits, on the command line."""

from support.fake_services import START_US, make_run, run_id

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState, WaitReason

FLOW = pb.RunsAhead(runs=92, name="mighty-bittern", flow_run_id=run_id(7))
QUEUED = pb.Wait(
    reason=WaitReason.QUEUED,
    message="92 runs of flow 'mighty-bittern' are ahead",
    queue="gpu",
    priority=3,
    ahead=92,
    whose=[FLOW],
)
UPSTREAM = pb.Wait(
    reason=WaitReason.UPSTREAM,
    message="1 upstream run has not ended: 'load-0'",
    runs=[pb.RunRef(run_id=run_id(2), name="load-0", state=RunState.READY)],
    runs_left=1,
)
CAUSE = pb.Wait(
    reason=WaitReason.NO_AGENT_HAS_PYTHON,
    message="no agent runs Python 3.13",
    about=pb.RunRef(run_id=run_id(2), name="load-0", state=RunState.READY),
    missing={"python": "3.13"},
)
DUE = pb.Wait(reason=WaitReason.RETRY_DELAY, message="attempt 2 is due in 8.0 s", due_us=START_US)
WAITING = make_run(1, state=RunState.READY, started_us=0, ended_us=0)


def test_the_reasons_and_whose_they_are(services, call):
    services.runs, services.explains = [WAITING], [UPSTREAM, CAUSE]
    assert [line.split(maxsplit=2) for line in call("run", "why", "add-1").lines] == [
        ["add-1", "waits"],
        ["REASON", "OF", "WHY"],
        ["upstream", "itself", "1 upstream run has not ended: 'load-0'"],
        ["no_agent_has_python", "load-0", "no agent runs Python 3.13"],
    ]


def test_the_same_as_json_with_all_facts(services, call):
    services.runs, services.explains = [WAITING], [QUEUED, UPSTREAM, CAUSE, DUE]
    document = call("run", "why", "add-1", "--json").document
    assert (document["id"], document["name"]) == (format_id(run_id(1)), "add-1")
    assert document["state_name"] == "Pending"
    queued, upstream, cause, due = document["waits"]
    assert queued["reason"] == "queued"
    assert (queued["queue"], queued["priority"], queued["ahead"]) == ("gpu", 3, 92)
    assert queued["whose"] == [
        {
            "runs": 92,
            "name": "mighty-bittern",
            "flow_run_id": format_id(run_id(7)),
            "own": False,
            "takes_turns": False,
        }
    ]
    load = {"id": format_id(run_id(2)), "name": "load-0", "state_name": "Pending"}
    assert (upstream["runs"], upstream["runs_left"], upstream["about"]) == ([load], 1, None)
    assert (cause["about"], cause["missing"]) == (load, {"python": "3.13"})
    assert due["due"] == "2026-01-01T00:00:00.000+00:00"
    assert queued.keys() == upstream.keys() == cause.keys() == due.keys()


def test_a_reason_of_a_newer_server_is_shown(services, call):
    services.runs, services.explains = [WAITING], [pb.Wait(reason=77, message="the moon is full")]
    assert call("run", "why", "add-1").lines[-1].split(maxsplit=2) == [
        "unknown_77",
        "itself",
        "the moon is full",
    ]


def test_what_does_not_wait(services, call):
    services.runs = [make_run(1), make_run(2, state=RunState.RUNNING, ended_us=0)]
    assert call("run", "why", "add-1").out == "add-1 has ended: Completed\n"
    assert call("run", "why", "add-2").out == "add-2 waits for nothing: it is Running\n"


def test_a_run_that_there_is_not(services, call):
    called = call("run", "why", format_id(run_id(5)))
    assert (called.code, called.out) == (1, "")


def test_a_server_that_cannot_say_it(services, call):
    services.runs, services.explains = [WAITING], None
    called = call("run", "why", "add-1")
    assert called.code == 1
    assert "release that does not say why runs wait" in called.err


def test_show_has_the_reasons(services, call):
    services.runs, services.explains = [WAITING], [QUEUED]
    assert ["queued", "itself", *QUEUED.message.split()] in [
        line.split() for line in call("run", "show", "add-1").lines
    ]
    assert [wait["ahead"] for wait in call("run", "show", "add-1", "--json").document["waits"]] == [92]


def test_show_does_without_them(services, call):
    services.runs, services.explains = [WAITING, make_run(2)], None
    assert "REASON" not in call("run", "show", "add-1").out
    assert call("run", "show", "add-1", "--json").document["waits"] == []
    assert call("run", "show", "add-2", "--json").document["waits"] == []
