"""What is asked of a listing is checked before a database sees it."""

from typing import Any

import pytest

from taskyard_api.v1.run_service_pb2 import RunFilter
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.reading.filters import check_filter


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": 77}, "filter.kind is 77"),
        ({"flow_run_id": b"short"}, "has 5 bytes"),
        ({"states": [100] * 1000}, "filter.states has 1000 entries"),
        ({"states": [0, 100, 99]}, "no state: 0, 99"),
        ({"name_contains": "x" * 2000}, "filter.name_contains has 2000 bytes"),
        ({"caller_run_id": b"short"}, "filter.caller_run_id has 5 bytes"),
        ({"run_ids": [bytes(16), b"short"]}, "filter.run_ids has 5 bytes"),
        ({"run_ids": [b""]}, "filter.run_ids has an empty id"),
        ({"run_ids": [bytes(16)] * 1001}, "filter.run_ids has 1001 entries"),
        ({"tags": ["x"] * 101}, "filter.tags has 101 entries"),
        ({"tags": ["x" * 2000]}, "filter.tags has 2000 bytes"),
        ({"task_name": "x" * 2000}, "filter.task_name has 2000 bytes"),
        ({"task_key": "x" * 2000}, "filter.task_key has 2000 bytes"),
        ({"queue": "x" * 2000}, "filter.queue has 2000 bytes"),
        ({"agent_name": "x" * 2000}, "filter.agent_name has 2000 bytes"),
        ({"submitted_from_us": -1}, "filter.submitted_from_us is no time"),
        ({"submitted_before_us": (1 << 63) - 1}, "filter.submitted_before_us is no time"),
    ],
)
def test_what_no_run_can_fit_is_an_invalid_request(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        check_filter(RunFilter(**fields))


def test_everything_that_exists_can_be_asked_for() -> None:
    states: Any = [int(state) for state in RunState if state]
    for kind in (0, *RunKind):
        wanted = RunFilter(kind=kind, flow_run_id=bytes(16), states=states, name_contains="x" * 1024)  # type: ignore[arg-type]
        assert check_filter(wanted) is wanted
