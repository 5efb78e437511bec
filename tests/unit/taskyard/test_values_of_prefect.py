"""Values that programs make beforehand: events, inputs, schedules, types for annotations."""

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from taskyard.events import Event, RelatedResource, Resource, ResourceSpecification
from taskyard.input import AutomaticRunInput, RunInput, keyset_from_base_key, run_input_subclass_from_type
from taskyard.runtime import deployment
from taskyard.schedules import Cron, Interval, RRule, Schedule
from taskyard.tasks import TaskRunNameCallbackWithParameters

ID = "taskyard.resource.id"
ROLE = "taskyard.resource.role"


def an_event(**parts: Any) -> Event:
    related = [
        {ID: "b", ROLE: "parent", "colour": "red"},
        {ID: "c", ROLE: "parent"},
        {ID: "d", ROLE: "actor"},
    ]
    return Event.model_validate({"event": "made", "resource": {ID: "a"}, "related": related, **parts})


def test_an_event_has_a_time_an_id_and_resources() -> None:
    event, other = an_event(), an_event()
    assert event.id != other.id
    assert event.occurred.tzinfo is not None
    assert [resource.id for resource in event.involved_resources] == ["a", "b", "c", "d"]
    assert {role: one.id for role, one in event.resource_in_role.items()} == {"parent": "b", "actor": "d"}
    assert [one.id for one in event.resources_in_role["parent"]] == ["b", "c"]
    assert event.find_resource_label(ID) == "a"
    assert event.find_resource_label("related:parent:colour") == "red"
    assert event.find_resource_label("related:nobody:colour") is None
    assert Event.model_validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize(
    ("kind", "labels", "missing"),
    [(Resource, {"x": "y"}, ID), (Resource, {ID: ""}, ID), (RelatedResource, {ID: "a"}, ROLE)],
)
def test_a_resource_needs_its_labels(kind: type[Resource], labels: dict[str, str], missing: str) -> None:
    with pytest.raises(ValidationError, match=f"the label '{missing}' is missing, or empty"):
        kind(labels)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [({}, True), ({ID: "a*"}, True), ({ID: ["x", "abc"]}, True), ({ID: "!abc"}, False), ({"x": "y"}, False)],
)
def test_a_specification_says_which_resources_are_meant(wanted: Any, expected: bool) -> None:
    specification = ResourceSpecification(wanted)
    assert specification.includes([Resource({ID: "abc"})]) is expected
    assert specification.matches_every_resource() is not bool(wanted)


class Answer(RunInput):
    name: str
    count: int = 1


def test_an_input_is_a_model_with_values_that_are_there_before() -> None:
    asked = Answer.with_initial_data(description="Who is it?", name="Ann")
    assert (asked().name, asked()._description, asked.__name__) == ("Ann", "Who is it?", "Answer")
    assert (Answer(name="Bob")._description, Answer(name="Bob").metadata) == (None, None)
    with pytest.raises(ValidationError):
        Answer(name="Bob", other=1)  # type: ignore[call-arg]  # the mistake under test
    assert Answer.keyset_from_type() == keyset_from_base_key("answer")


def test_any_type_has_a_class_of_inputs() -> None:
    class Model(BaseModel):
        x: int

    assert run_input_subclass_from_type(Answer) is Answer
    assert run_input_subclass_from_type(Model)(x="1").x == 1
    plain = run_input_subclass_from_type(list[int])
    assert issubclass(plain, AutomaticRunInput)
    assert plain(value=["1"]).value == [1]


def test_schedules_are_values() -> None:
    assert Cron("0 12 * * *", timezone="Europe/Paris").cron == "0 12 * * *"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert Interval(60, anchor_date=start) == Interval(timedelta(minutes=1), anchor_date=start)
    assert RRule("FREQ=DAILY", parameters={"x": 1}, slug="s").parameters == {"x": 1}
    schedule = Interval(5)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_a_schedule_is_of_one_kind() -> None:
    with pytest.raises(ValueError, match="got interval and cron"):
        Schedule(interval=timedelta(1), cron="* * * * *")
    with pytest.raises(ValueError, match="longer than nothing"):
        Interval(0)


def test_there_is_no_deployment_around() -> None:
    found = [deployment.id, deployment.name, deployment.version, deployment.flow_run_id]
    assert (found, deployment.parameters) == ([None] * 4, {})
    assert dir(deployment) == ["flow_run_id", "id", "name", "parameters", "version"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'; it has "):
        deployment.nothing  # noqa: B018


def test_names_of_runs_may_be_made_of_parameters() -> None:
    def by_parameters(parameters: dict[str, Any]) -> str:
        return str(parameters)

    asked = TaskRunNameCallbackWithParameters.is_callback_with_parameters
    assert (asked(by_parameters), asked(lambda: "x")) == (True, False)
