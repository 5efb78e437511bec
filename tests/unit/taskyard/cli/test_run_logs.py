import json

import grpc
import pytest
from support.fake_services import START_US, make_run, run_id

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState


def page(*messages: str, level: int = 20) -> pb.ListRunLogsResponse:
    count = len(messages)
    logs = session_service_pb2.LogBatch(
        run_ids=[run_id(1)] * count,
        at_us=[START_US] * count,
        levels=[level] * count,
        loggers=["taskyard.task_runs"] * count,
        messages=messages,
        run_names=["add-1"] * count,
    )
    return pb.ListRunLogsResponse(logs=logs)


def test_all_pages_are_printed_in_order(services, call):
    services.runs, services.log = [make_run(1)], [page("one", "two"), page("three", level=30)]
    called = call("run", "logs", "add-1")
    assert called.code == 0
    assert [line.split(" | ")[1:] for line in called.lines] == [
        ["INFO   ", "add-1 - one"],
        ["INFO   ", "add-1 - two"],
        ["WARNING", "add-1 - three"],
    ]


def test_json_is_one_list_over_all_pages(services, call):
    services.runs, services.log = [make_run(1)], [page("one"), page("two")]
    document = call("run", "logs", "add-1", "--json").document
    assert [record["message"] for record in document] == ["one", "two"]
    assert document[0]["run_id"] == format_id(run_id(1))
    assert document[0]["level"] == 20


@pytest.mark.parametrize("options", [(), ("--json",), ("--follow",)])
def test_a_log_whose_beginning_was_removed_says_so_beside_it(services, call, options):
    first = page("one")
    first.removed_before_us = 1_700_006_400_000_000
    services.runs, services.log = [make_run(1)], [first, page("two")]
    called = call("run", "logs", "add-1", *options)
    assert called.code == 0
    assert (
        called.err.count("taskyard: what was logged before 2023-11-15 00:00 UTC was removed by retention")
        == 1
    )
    assert "removed" not in called.out


def test_no_records_are_no_lines(services, call):
    services.runs = [make_run(1)]
    assert call("run", "logs", "add-1").out == ""
    assert call("run", "logs", "add-1", "--json").document == []


def test_follow_goes_on_until_the_run_has_completed(services, call):
    services.runs, services.log = [make_run(1)], [page("one"), page("two"), page("three")]
    called = call("run", "logs", "add-1", "--follow")
    assert called.code == 0
    assert [line.rpartition(" - ")[2] for line in called.lines] == ["one", "two", "three"]


def test_follow_goes_on_at_the_server_that_comes_after_one_that_stops(services, call):
    services.runs, services.log = [make_run(1)], [page("one"), page("two")]
    services.stops_left = 2
    called = call("run", "logs", "add-1", "--follow")
    assert (called.code, called.err) == (0, "")
    assert [line.rpartition(" - ")[2] for line in called.lines] == ["one", "two"]


def test_follow_goes_on_when_a_proxy_has_ended_the_stream(services, call):
    services.runs, services.log = [make_run(1)], [page("one"), page("two")]
    services.resets = [grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL]
    called = call("run", "logs", "add-1", "--follow")
    assert (called.code, called.err, services.resets) == (0, "", [])
    assert [line.rpartition(" - ")[2] for line in called.lines] == ["one", "two"]


def test_follow_ends_with_an_error_of_the_server_itself(services, call):
    services.runs, services.log = [make_run(1)], [page("one"), page("two")]
    services.fails_with = TaskyardError("the server failed; its log has the details under 0123")
    called = call("run", "logs", "add-1", "--follow")
    assert called.code != 0
    assert "its log has the details under 0123" in called.err
    assert len(called.lines) == 1


def test_follow_of_a_run_that_fails_is_1(services, call):
    services.runs, services.log = [make_run(1, state=RunState.FAILED)], [page("one")]
    called = call("run", "logs", "add-1", "--follow")
    assert called.code == 1
    assert called.err == "taskyard: add-1 ended Failed\n"
    assert len(called.lines) == 1


def test_follow_as_json_is_one_document_a_line(services, call):
    services.runs, services.log = [make_run(1)], [page("one"), page("two")]
    called = call("run", "logs", "add-1", "-f", "--json")
    assert [json.loads(line)["message"] for line in called.lines] == ["one", "two"]


def test_follow_of_a_log_without_records_is_nothing(services, call):
    services.runs = [make_run(1)]
    called = call("run", "logs", "add-1", "-f")
    assert (called.code, called.out, called.err) == (0, "", "")
