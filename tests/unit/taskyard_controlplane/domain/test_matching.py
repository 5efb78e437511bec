"""Which agents can execute the runs of a template, and what is said when one cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.capabilities import CODE_BY_NAME, CODE_BY_REFERENCE, CODE_BY_VALUE
from taskyard_controlplane.domain.matching import Mismatch, Need, Offer, matches, mismatch, missing, offer_of
from taskyard_controlplane.domain.model import Template

JSON, PICKLE = "json/plain", "pickle/python"
CODES = [CODE_BY_VALUE, CODE_BY_REFERENCE, CODE_BY_NAME]
ENCODINGS = [JSON, PICKLE]
QUEUES = ["default", "gpu"]
LABELS = [("gpu", "a100"), ("gpu", "h100"), ("zone", "a")]

needs = st.builds(
    Need,
    st.sampled_from(QUEUES),
    st.sampled_from(["", *CODES]),
    st.sampled_from(["", *ENCODINGS]),
    st.frozensets(st.sampled_from(LABELS), max_size=1),
)
queues = st.lists(st.sampled_from(QUEUES), max_size=2)
capabilities = st.lists(st.sampled_from([*CODES, *ENCODINGS, "gpu"]), max_size=6)
labels = st.lists(st.sampled_from(LABELS)).map(dict)
offers = st.builds(offer_of, queues, capabilities, labels)


def test_a_template_says_what_its_runs_need() -> None:
    asked = frozenset({("gpu", "a100")})
    template = Template(1, b"", b"", queue="gpu", code=CODE_BY_NAME, encoding=JSON, labels=asked)
    assert template.need == Need("gpu", CODE_BY_NAME, JSON, asked, result_encoding=JSON)


def test_what_an_agent_announced_is_sorted_by_what_it_is() -> None:
    offer = offer_of(["b", "a", "b"], [CODE_BY_REFERENCE, JSON, "code/wasm", "fast"])
    assert offer == Offer(("b", "a"), frozenset({CODE_BY_REFERENCE, "code/wasm"}), frozenset({JSON}))


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        ([CODE_BY_REFERENCE, JSON], None),
        ([CODE_BY_REFERENCE], None),
        ([JSON], None),
        ([], None),
        (["fast"], None),
        ([CODE_BY_VALUE, JSON], Mismatch.CODE),
        ([CODE_BY_REFERENCE, PICKLE], Mismatch.ENCODING),
        ([CODE_BY_VALUE, PICKLE], Mismatch.CODE),
    ],
)
def test_code_and_encoding_have_to_be_announced_by_whoever_announces_any(
    announced: list[str], reason: Mismatch | None
) -> None:
    assert mismatch(Need("default", CODE_BY_REFERENCE, JSON), offer_of(["default"], announced)) is reason


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        ({"gpu": "a100", "zone": "a"}, None),
        ({"gpu": "a100", "zone": "a", "disk": "fast"}, None),
        ({"gpu": "a100", "zone": "b"}, Mismatch.LABELS),
        ({"gpu": "a100"}, Mismatch.LABELS),
        ({}, Mismatch.LABELS),
    ],
)
def test_an_agent_needs_all_labels_with_their_values(
    announced: dict[str, str], reason: Mismatch | None
) -> None:
    need = Need("default", labels=frozenset({("gpu", "a100"), ("zone", "a")}))
    assert mismatch(need, offer_of(["default"], [], announced)) is reason


@given(needs, needs)
def test_lanes_of_different_needs_have_different_names(one: Need, other: Need) -> None:
    assert (one.lane == other.lane) is (one == other)


def test_labels_cannot_be_confused_in_the_name_of_a_lane() -> None:
    lanes = {
        Need("q", labels=frozenset(labels)).lane
        for labels in ([("a", "1"), ("b", "2")], [("a", "1', 'b': '2")], [("a", "1, b=2")], [])
    }
    assert len(lanes) == 4


def test_who_serves_another_queue_is_not_asked_for_more() -> None:
    assert mismatch(Need("gpu", CODE_BY_VALUE, PICKLE), offer_of(["default"], [JSON])) is Mismatch.QUEUE


def test_reasons_are_sentences_about_an_agent() -> None:
    for reason in Mismatch:
        assert f"agent 'a' {reason.value}".isprintable()
        assert reason.value.split()[0] in {"does", "cannot", "has"}


@given(needs, offers)
def test_there_is_a_match_or_a_reason(need: Need, offer: Offer) -> None:
    assert matches(need, offer) is (mismatch(need, offer) is None)


@given(needs, queues, capabilities, labels)
def test_nobody_gets_what_he_did_not_announce(
    need: Need, served: list[str], announced: list[str], own: dict[str, str]
) -> None:
    if not matches(need, offer_of(served, announced, own)):
        return
    assert need.queue in served
    assert need.labels <= own.items()
    for wanted, kind in ((need.code, CODES), (need.encoding, ENCODINGS)):
        assert not wanted or wanted in announced or not set(kind) & set(announced)


@given(needs, queues, capabilities, st.sampled_from([*CODES, *ENCODINGS]))
def test_announcing_more_of_a_kind_never_loses_a_match(
    need: Need, served: list[str], announced: list[str], more: str
) -> None:
    kind = CODES if more in CODES else ENCODINGS
    own = dict(need.labels)
    if set(kind) & set(announced) and matches(need, offer_of(served, announced, own)):
        assert matches(need, offer_of(served, [*announced, more], own))


@given(needs, queues)
def test_an_agent_that_announces_nothing_gets_all_of_its_queues_that_asks_for_nothing_else(
    need: Need, served: list[str]
) -> None:
    asks = need.labels or need.environment
    assert matches(need, offer_of(served, [])) is (need.queue in served and not asks)


@pytest.mark.parametrize(
    ("need", "offers", "said"),
    [
        (Need("gpu"), [], "no agent is connected"),
        (Need("gpu"), [Offer(("default",))], "no agent serves queue 'gpu'"),
        (
            Need("default", python="3.11"),
            [Offer(("default",), pythons=frozenset({"3.12"}))],
            "no agent runs Python 3.11",
        ),
        (
            Need("default", labels=frozenset({("gpu", "a100")})),
            [Offer(("default",))],
            "no agent is labelled gpu=a100",
        ),
        (
            Need("default", python="3.11"),
            [Offer(("gpu",)), Offer(("default",), pythons=frozenset({"3.12"})), Offer(("gpu",))],
            "no agent runs Python 3.11",
        ),
        (Need("default"), [Offer(("gpu",)), Offer(("default",))], ""),
    ],
)
def test_what_runs_wait_for_is_what_the_closest_agent_lacks(
    need: Need, offers: list[Offer], said: str
) -> None:
    assert missing(need, offers) == said


@given(needs, st.lists(offers, max_size=3))
def test_something_is_missing_where_no_agent_matches(need: Need, some: list[Offer]) -> None:
    assert bool(missing(need, some)) is not any(matches(need, offer) for offer in some)


def test_b17_who_serves_a_task_need_not_load_its_code() -> None:
    need = Need("default", CODE_BY_VALUE, PICKLE, served_as="jobs:send")
    assert mismatch(need, offer_of(["default"], [CODE_BY_NAME], serves=["jobs:send"])) is None
    assert mismatch(need, offer_of(["default"], [CODE_BY_VALUE])) is None
    assert mismatch(need, offer_of(["default"], [CODE_BY_NAME], serves=["jobs:other"])) is Mismatch.CODE
    assert mismatch(need, offer_of(["other"], [CODE_BY_NAME], serves=["jobs:send"])) is Mismatch.QUEUE
    json_only = offer_of(["default"], [CODE_BY_NAME, JSON], serves=["jobs:send"])
    assert mismatch(need, json_only) is Mismatch.ENCODING


def test_who_serves_tasks_is_given_no_code_of_others() -> None:
    offer = offer_of(["default"], [CODE_BY_NAME], serves=["jobs:send"])
    assert mismatch(Need("default", CODE_BY_VALUE, PICKLE), offer) is Mismatch.CODE
    # A name that is empty is none: it would be that of all runs that nobody looks for a program for.
    nameless = offer_of(["default"], [CODE_BY_NAME], serves=[""])
    assert mismatch(Need("default", CODE_BY_VALUE), nameless) is Mismatch.CODE
    # An agent that has said nothing of its code serves nothing by that.
    assert mismatch(Need("default", CODE_BY_VALUE, served_as=""), offer_of(["default"], [CODE_BY_NAME])) is (
        Mismatch.CODE
    )


def test_b17_what_nobody_serves_is_said_by_its_name() -> None:
    need = Need("default", CODE_BY_VALUE, PICKLE, served_as="jobs:send")
    said = missing(need, [offer_of(["default"], [CODE_BY_NAME], serves=["jobs:other"])])
    assert said == "no agent loads its kind of code (code/blob), and no program serves 'jobs:send'"


def test_runs_that_are_served_under_different_names_wait_apart() -> None:
    one, other = (Template(1, b"", b"", queue="q", code=CODE_BY_VALUE, served_as=name) for name in ("a", "b"))
    assert one.need != other.need
    assert one.need.lane != other.need.lane
