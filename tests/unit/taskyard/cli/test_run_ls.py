from datetime import datetime

import pytest
from support.fake_services import FakeServices, make_run, run_id

from taskyard.cli.views.output import clock_time
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import Overloaded
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState, StateReason


def test_piped_output_is_aligned_and_complete(services, call):
    services.runs = [
        make_run(1, name="a" * 120),
        make_run(2, reason=StateReason.CACHED),
        make_run(3, kind=2, state=RunState.RUNNING, ended_us=0),
    ]
    heading, first, second, third = call("run", "ls").lines
    assert heading.split() == ["NAME", "KIND", "STATE", "SUBMITTED", "TOOK", "ID"]
    assert first.startswith("a" * 120)
    assert first.endswith(format_id(run_id(1)))
    assert " Cached " in second
    assert " flow " in third
    assert " Running " in third
    assert {line.index("019b7600") for line in (second, third)} == {heading.index("ID")}


def test_nothing_to_list_is_said(call):
    called = call("run", "ls")
    assert (called.code, called.out) == (0, "no runs\n")


def test_json_is_one_list(services, call):
    services.runs = [make_run(2), make_run(1)]
    document = call("run", "ls", "--json").document
    assert [run["id"] for run in document] == [format_id(run_id(2)), format_id(run_id(1))]
    assert document[0]["state"] == "COMPLETED"
    assert document[0]["submitted"] == "2026-01-01T00:00:00.000+00:00"


def test_an_empty_list_is_json_too(call):
    assert call("run", "ls", "--json").document == []


def test_limit_reaches_over_pages(services, call):
    services.runs = [make_run(number) for number in range(20, 0, -1)]
    document = call("run", "ls", "--json", "--limit", "8").document
    assert [run["name"] for run in document] == [f"add-{number}" for number in range(20, 12, -1)]


def test_filters_reach_the_server(services: FakeServices, call):
    services.runs = [make_run(7, kind=2, name="nightly")]
    arguments = ("--kind", "flow", "--state", "failed", "--state", "NotReady", "--name", "night")
    assert call("run", "ls", *arguments, "--flow", format_id(run_id(7))).code == 0
    asked = services.asked[-1].filter
    assert asked.kind == 2
    assert list(asked.states) == [RunState.FAILED, RunState.NOT_READY]
    assert asked.name_contains == "night"
    assert asked.flow_run_id == run_id(7)


def test_more_filters_and_the_order_reach_the_server(services: FakeServices, call):
    arguments = (
        "--task",
        "add",
        "--tag",
        "nightly",
        "--tag",
        "big",
        "--queue",
        "gpu",
        "--since",
        "2026-01-31",
    )
    assert call("run", "ls", *arguments, "--oldest").code == 0
    asked = services.asked[-1]
    assert (asked.filter.task_name, asked.filter.queue) == ("add", "gpu")
    assert list(asked.filter.tags) == ["nightly", "big"]
    since = datetime(2026, 1, 31).astimezone()
    assert asked.filter.submitted_from_us == since.timestamp() * 1_000_000
    assert asked.order == pb.RUN_ORDER_OLDEST_FIRST


COUNTS = pb.CountRunsResponse(
    counts=[pb.StateCount(state=RunState.COMPLETED, runs=12), pb.StateCount(state=RunState.RUNNING, runs=3)]
)


def test_runs_are_counted_by_state(services: FakeServices, call):
    services.counts = COUNTS
    called = call("run", "ls", "--count", "--task", "add")
    assert [line.split() for line in called.lines] == [
        ["STATE", "RUNS"],
        ["Completed", "12"],
        ["Running", "3"],
        ["total", "15"],
    ]
    assert services.asked[-1].filter.task_name == "add"
    assert called.err == ""


def test_a_count_says_how_far_back_it_looked(services: FakeServices, call):
    services.counts = pb.CountRunsResponse(counts=COUNTS.counts, searched_to_us=17_000_000)
    assert f"counted the runs since {clock_time(17_000_000)[:-4]}" in call("run", "ls", "--count").err
    document = call("run", "ls", "--count", "--json").document
    assert document["states"] == {"Completed": 12, "Running": 3}
    assert (document["runs"], document["searched_to"]) == (15, "1970-01-01T00:00:17.000+00:00")


def test_no_runs_are_a_count_too(call):
    assert [line.split() for line in call("run", "ls", "--count").lines] == [
        ["STATE", "RUNS"],
        ["total", "0"],
    ]


def test_a_type_stands_for_all_its_states(services, call):
    call("run", "ls", "--state", "pending")
    assert set(services.asked[-1].filter.states) == {
        RunState.PENDING,
        RunState.READY,
        RunState.ASSIGNED,
        RunState.AWAITING_CACHE,
        RunState.NOT_READY,
    }


def _few_among_many(services):
    services.most_looked_at = 4
    services.runs = [
        make_run(number, name="rare" if number in (20, 9, 1) else "frequent", submitted_us=number * 1_000_000)
        for number in range(20, 0, -1)
    ]


def test_a_search_that_ends_early_says_how_far_it_came(services, call):
    _few_among_many(services)
    called = call("run", "ls", "--name", "rare")
    assert (called.code, len(called.lines)) == (0, 2)
    assert f"looked at the runs since {clock_time(17_000_000)[:-4]} and no older ones" in called.err
    assert "--all" in called.err
    as_json = call("run", "ls", "--name", "rare", "--json")
    assert len(as_json.document) == 1
    assert as_json.err == called.err


def test_a_search_that_finds_nothing_says_so_too(services, call):
    _few_among_many(services)
    called = call("run", "ls", "--name", "nobody")
    assert (called.code, called.out) == (0, "no runs\n")
    assert "and no older ones" in called.err


@pytest.mark.parametrize("arguments", [("--all",), ("--state", "running")])
def test_a_search_goes_on_to_the_oldest_run(services, call, arguments):
    """When somebody wants it, and for runs that have not ended, which are few and may be old."""
    _few_among_many(services)
    called = call("run", "ls", "--name", "rare", "--json", *arguments)
    assert [run["id"] for run in called.document] == [format_id(run_id(number)) for number in (20, 9, 1)]
    assert called.err == ""


def test_oldest_first_a_search_that_ends_early_says_up_to_when(services, call):
    _few_among_many(services)
    called = call("run", "ls", "--name", "rare", "--oldest")
    assert "looked at the runs up to" in called.err
    assert "no newer ones" in called.err


def test_a_full_list_is_all_that_was_asked_for(services, call):
    _few_among_many(services)
    called = call("run", "ls", "--name", "rare", "--limit", "1")
    assert (len(called.lines), called.err) == (2, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        ("--state", "finished"),
        ("--kind", "job"),
        ("--limit", "0"),
        ("--no-such-option",),
        ("surplus",),
    ],
)
def test_wrong_usage_is_2(call, arguments):
    called = call("run", "ls", *arguments)
    assert called.code == 2
    assert called.out == ""


def test_a_refusal_is_1_and_one_line(services, call):
    services.refuse = Overloaded("the server is busy; repeat in a second", retry_after=1.0)
    called = call("run", "ls")
    assert called.code == 1
    assert called.err == "taskyard: the server is busy; repeat in a second\n"
