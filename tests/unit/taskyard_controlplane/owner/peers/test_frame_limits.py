"""What is beyond all reason in a message is refused by name, before anything is done with it."""

from typing import Any

import pytest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2 as cp
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.owner.peers import frame_limits
from taskyard_controlplane.owner.peers.frame_limits import (
    MAX_HELLO_BYTES,
    MAX_LABELS,
    MAX_NAMES,
    MAX_OFFER_ENCODINGS,
    MAX_OFFERS,
    MAX_SCHEMA_BYTES,
    check_agent_frame,
    check_agent_hello,
    check_client_frame,
    check_client_hello,
)

ID = b"i" * 16
LONG = "n" * 2_000


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limits small."""
    for name in ("MAX_BATCH_RUNS", "MAX_HELD"):
        monkeypatch.setattr(frame_limits, name, 3)
    monkeypatch.setattr(frame_limits._few, "__defaults__", (3,))


def client_frame(count: int, **fields: Any) -> sp.ClientFrame:
    return sp.ClientFrame(**{name: value(count) for name, value in fields.items()})


def logs(count: int) -> sp.LogBatch:
    return sp.LogBatch(run_ids=[ID] * count)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subscribe", lambda count: [ID] * count),
        ("cancel", lambda count: [ID] * count),
        ("withdraw", lambda count: [ID] * count),
        ("flow_reports", lambda count: [sp.FlowReport(run_id=ID)] * count),
        ("logs", logs),
        ("submit", lambda count: sp.SubmitBatch(groups=[sp.RunGroup(run_ids=[ID])] * count)),
        ("submit", lambda count: sp.SubmitBatch(groups=[sp.RunGroup(run_ids=[ID] * count)])),
        ("submit", lambda count: sp.SubmitBatch(templates=[tp.TemplateDefinition(index=1)] * count)),
    ],
)
def test_a_frame_of_a_client_has_a_limit_of_each_thing(field: str, value: Any) -> None:
    check_client_frame(client_frame(3, **{field: value}))
    with pytest.raises(InvalidRequest, match=rf"{field}.* 4 .* at most 3"):
        check_client_frame(client_frame(4, **{field: value}))


@pytest.mark.parametrize("beyond", [0, 1])
def test_templates_and_code_of_a_frame_have_a_limit_together(
    monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    batch = sp.SubmitBatch(
        templates=[tp.TemplateDefinition(index=1, template=tp.RunTemplate(name="n" * 40))],
        blobs=[cp.InlineBlob(digest=b"d" * 32, data=b"x" * 50)],
    )
    size = batch.templates[0].ByteSize() + batch.blobs[0].ByteSize()
    monkeypatch.setattr(frame_limits, "MAX_DEFINED_BYTES", size - beyond)
    frame = sp.ClientFrame(submit=batch)
    if beyond:
        with pytest.raises(InvalidRequest, match=r"templates and blobs.*BlobService") as refused:
            check_client_frame(frame)
        assert refused.value.limit == size - 1
    else:
        check_client_frame(frame)


@pytest.mark.parametrize("kind", [ap.AgentFrame, ap.ReportBatchRequest])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reports", lambda count: [ap.ReportChunk()] * count),
        ("started", lambda count: [ap.StartedRun()] * count),
        ("given_back", lambda count: [ap.RunKey()] * count),
        ("lost", lambda count: [ap.LostRun()] * count),
        ("cancelled", lambda count: [ap.RunKey()] * count),
        ("logs", logs),
    ],
)
def test_a_frame_of_an_agent_has_a_limit_of_each_thing(kind: Any, field: str, value: Any) -> None:
    check_agent_frame(kind(**{field: value(3)}))
    with pytest.raises(InvalidRequest, match=field):
        check_agent_frame(kind(**{field: value(4)}))


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("name", "n" * 1_000, LONG),
        ("agent_version", "1", LONG),
        ("session_id", bytes(16), bytes(2_000)),
        ("agent_id", "a", LONG),
        ("agent_id", "a", "a\x00"),
        ("held", [ap.RunKey()] * 3, [ap.RunKey()] * 4),
        ("queues", ["q"] * MAX_NAMES, ["q"] * (MAX_NAMES + 1)),
        ("queues", ["q"], [LONG]),
        ("serves", ["jobs:send"] * MAX_OFFERS, ["jobs:send"] * (MAX_OFFERS + 1)),
        ("serves", ["jobs:send"], ["jobs:send", LONG]),
        ("capabilities", ["c"], ["c"] * (MAX_NAMES + 1)),
        ("labels", {"k": "v"}, {str(number): "v" for number in range(MAX_LABELS + 1)}),
        ("labels", {"k": "v"}, {"k": LONG}),
    ],
)
def test_an_agent_introduces_itself_briefly(field: str, good: Any, bad: Any) -> None:
    check_agent_hello(ap.AgentHello(**{field: good}))
    with pytest.raises(InvalidRequest, match=field) as caught:
        check_agent_hello(ap.AgentHello(**{field: bad}))
    assert caught.value.field.startswith(f"hello.{field}")


SCHEMA = "s" * MAX_SCHEMA_BYTES


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        ({}, {"name": ""}, "name"),
        ({}, {"name": "first"}, "name"),
        ({"name": "n" * 1_024}, {"name": "n" * 1_025}, "name"),
        ({"version": "v" * 1_024}, {"version": "v" * 1_025}, "version"),
        ({"description": "d" * 8_192}, {"description": "d" * 8_193}, "description"),
        ({"parameter_schema": SCHEMA}, {"parameter_schema": SCHEMA + "s"}, "parameter_schema"),
        ({"result_schema": SCHEMA}, {"result_schema": SCHEMA + "s"}, "result_schema"),
        (
            {"encodings": ["e"] * MAX_OFFER_ENCODINGS},
            {"encodings": ["e"] * (MAX_OFFER_ENCODINGS + 1)},
            "encodings",
        ),
        ({"encodings": ["e" * 1_024]}, {"encodings": ["e", "e" * 1_025]}, "encodings[1]"),
    ],
)
def test_an_offer_of_a_task_is_checked_field_by_field(
    good: dict[str, Any], bad: dict[str, Any], field: str
) -> None:
    first = ap.TaskOffer(name="first")
    check_agent_hello(ap.AgentHello(tasks=[first, ap.TaskOffer(**{"name": "second", **good})]))
    with pytest.raises(InvalidRequest) as caught:
        check_agent_hello(ap.AgentHello(tasks=[first, ap.TaskOffer(**{"name": "second", **bad})]))
    assert caught.value.field == f"hello.tasks[1].{field}"


def test_an_agent_offers_a_thousand_tasks_and_says_of_them_what_it_may_say_in_all() -> None:
    names = [f"task-{number}" for number in range(MAX_OFFERS + 1)]
    check_agent_hello(ap.AgentHello(tasks=[ap.TaskOffer(name=name) for name in names[:-1]]))
    with pytest.raises(InvalidRequest) as caught:
        check_agent_hello(ap.AgentHello(tasks=[ap.TaskOffer(name=name) for name in names]))
    assert (caught.value.field, caught.value.limit) == ("hello.tasks", MAX_OFFERS)
    tasks = [ap.TaskOffer(name=name, parameter_schema=SCHEMA) for name in names[:256]]
    hello = ap.AgentHello(tasks=tasks[:-1])
    check_agent_hello(hello)
    hello.tasks.append(tasks[-1])
    assert hello.ByteSize() > MAX_HELLO_BYTES
    with pytest.raises(InvalidRequest) as caught:
        check_agent_hello(hello)
    assert (caught.value.field, caught.value.limit) == ("hello", MAX_HELLO_BYTES)


def test_a_client_introduces_itself_briefly() -> None:
    check_client_hello(sp.SessionHello(client_name="host:1 python-1.0"))
    with pytest.raises(InvalidRequest, match="client_name"):
        check_client_hello(sp.SessionHello(client_name=LONG))
