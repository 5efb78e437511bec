"""The order in which rules decide why a ready run is not given to an agent."""

from typing import Any

import pytest

from taskyard_contract.states import WaitReason as W
from taskyard_controlplane.domain import wait_reasons
from taskyard_controlplane.domain.explaining import AgentView, Line, Standing, lack_of_agents, why_queued
from taskyard_controlplane.domain.matching import Need, matches, offer_of
from taskyard_controlplane.domain.wait_reasons import Others, Reason, RunName

OFFER = offer_of(["default"], [])
ELSEWHERE = offer_of(["gpu"], [])


def view(name: str = "a", **fields: Any) -> AgentView:
    return AgentView(name, fields.pop("offer", OFFER), **fields)


NOBODY = Line()


def standing(line: Line = NOBODY, **fields: Any) -> Standing:
    return Standing(Need("default"), 0, lambda: line, **fields)


def why(run: Standing, agents: list[AgentView]) -> tuple[Reason, ...]:
    """Ask as the owner does: whether anybody is able, and then what keeps those that are."""
    lack = lack_of_agents(run.need, agents)
    able = [agent for agent in agents if matches(run.need, agent.offer)]
    return (lack,) if lack is not None else why_queued(run, able)


def codes(reasons: tuple[Reason, ...]) -> list[W]:
    return [reason.code for reason in reasons]


def test_what_nobody_can_execute_is_not_counted_in_a_queue() -> None:
    def line() -> Line:
        raise AssertionError("nobody asked")

    run = Standing(Need("default"), 0, line)
    assert codes(why(run, [])) == [W.NO_AGENT]
    assert codes(why(run, [view(offer=ELSEWHERE, draining=True)])) == [W.NO_AGENT_FOR_QUEUE]
    assert codes(why(run, [view(draining=True)])) == [W.AGENT_DRAINING]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"condition": "full", "draining": True}, W.AGENT_CONDITION),
        ({"draining": True, "connected": False}, W.AGENT_DRAINING),
        ({"connected": False}, W.AGENT_AWAY),
        ({"away": True}, W.AGENT_AWAY),
        ({"paused": True}, W.AGENT_AWAY),
        ({"nested_only": True}, W.AGENT_NESTED_ONLY),
    ],
)
def test_each_agent_says_what_keeps_it(fields: dict[str, Any], reason: W) -> None:
    assert codes(why(standing(), [view(**fields), view("b", offer=ELSEWHERE, credit=9)])) == [reason]
    both = why(standing(), [view(**fields), view("b")])
    expected = [W.SLOTS_TAKEN] if reason == W.AGENT_NESTED_ONLY else [W.SLOTS_TAKEN, reason]
    assert codes(both) == expected, "but it is not what decides where others could"


def test_an_agent_that_is_away_counts_where_no_other_could() -> None:
    gone = view("gone", connected=False)
    assert codes(why(standing(), [gone, view("b", offer=ELSEWHERE)])) == [W.AGENT_AWAY]


def test_what_others_wait_for_is_taken_by_all() -> None:
    agents = [view(nested_only=True, credit=1)]
    assert codes(why(standing(nested=True), agents)) == [W.TURN]
    assert codes(why(standing(nested=False), agents)) == [W.AGENT_NESTED_ONLY]


def test_an_agent_may_be_crowded_by_some_programs_only() -> None:
    agents = [view(nested_only=True, nested_only_shares=frozenset({1, 2}), credit=1)]
    assert codes(why(standing(share=2), agents)) == [W.AGENT_NESTED_ONLY]
    assert codes(why(standing(share=3), agents)) == [W.TURN]


def test_who_gave_it_back_may_not_have_it_and_others_may() -> None:
    picky, other = view("picky", credit=1), view("other", credit=1)
    run = standing(declined_by=picky)
    assert codes(why(run, [picky])) == [W.AGENT_DECLINED]
    assert codes(why(run, [picky, other])) == [W.TURN]


OWN = Others(7, "flow-0", b"f" * 16, own=True)
OF_OTHERS = Others(92, "mighty-bittern", b"m" * 16)
IN_TURN = OF_OTHERS._replace(takes_turns=True)
EXECUTED = (Others(2, "mighty-bittern", b"m" * 16),)


@pytest.mark.parametrize(
    ("line", "credit", "reasons"),
    [
        (Line(), 1, [W.TURN]),
        (Line(), 0, [W.SLOTS_TAKEN]),
        (Line((OF_OTHERS,), EXECUTED), 0, [W.QUEUED]),
        (Line((OF_OTHERS,)), 1, [W.QUEUED]),
        (Line((IN_TURN,), EXECUTED), 0, [W.SLOTS_TAKEN, W.QUEUED]),
        (Line((OWN,), EXECUTED), 0, [W.SLOTS_TAKEN, W.QUEUED]),
        (Line((OWN,), EXECUTED, own_executing=1), 0, [W.QUEUED]),
        (Line((OWN, OF_OTHERS), EXECUTED), 0, [W.QUEUED]),
    ],
)
def test_who_is_before_it(line: Line, credit: int, reasons: list[W]) -> None:
    assert codes(why(standing(line), [view(credit=credit)])) == reasons


@pytest.mark.parametrize(
    ("whose", "text", "ahead"),
    [
        ([OF_OTHERS], "92 runs of flow 'mighty-bittern' are ahead", 92),
        ([OF_OTHERS._replace(runs=1)], "1 run of flow 'mighty-bittern' is ahead", 1),
        ([OWN], "7 runs of its own flow are ahead", 7),
        ([Others(3, "host:1")], "3 runs of program 'host:1' are ahead", 3),
        ([Others(3, "host:1", own=True)], "3 runs of its own program are ahead", 3),
        ([Others(1_500, "")], "1,500 runs of no program are ahead", 1_500),
        ([OF_OTHERS, OWN], "99 runs are ahead, 92 of them of flow 'mighty-bittern'", 99),
        ([IN_TURN], "it takes turns with 92 runs of flow 'mighty-bittern'", 0),
        (
            [OWN, IN_TURN, Others(5, "host:2", takes_turns=True)],
            "7 runs of its own flow are ahead, and it takes turns with 97 runs, 92 of them of flow "
            "'mighty-bittern'",
            7,
        ),
    ],
)
def test_how_it_is_said(whose: list[Others], text: str, ahead: int) -> None:
    reason = wait_reasons.queued("default", 0, whose, 0)
    assert (reason.text, reason.ahead, list(reason.whose)) == (text, ahead, whose)


def test_few_are_named_of_many() -> None:
    many = [RunName(bytes([number]) * 16, f"load-{number}") for number in range(9)]
    reason = wait_reasons.upstream(9, 0, many)
    assert reason.text == (
        "9 upstream runs have not ended: 'load-0', 'load-1', 'load-2', 'load-3', 'load-4', ..."
    )
    assert len(reason.runs) == 5
    assert wait_reasons.upstream(1, 0, []).text == "1 upstream run has not ended"
    whose = [Others(1, f"flow-{number}", b"f" * 16) for number in range(9)]
    assert len(wait_reasons.slots_taken("default", 0, whose, 0).whose) == 5
    assert wait_reasons.runs_inside(1, many[:1]).text == "1 run inside it is open and not executed: 'load-0'"
