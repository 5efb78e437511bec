"""For each rule a history that breaks it, and one like it that does not."""

from typing import Any

import pytest

from simulation.checker import RULES, violations
from simulation.history import KINDS, Event, Spec, Terms

E1, E2 = (1 << 32) | 1, (1 << 32) | 2
LATER_OWNER = (2 << 32) | 1
COMPLETED, FAILED, CANCELLED, CRASHED = 100, 101, 102, 103
ASSIGNED, READY, CANCELLING = 3, 2, 7
WORKER_DIED, AGENT_LOST, CODE_UNAVAILABLE, WAITING_REFUSED = 3, 4, 8, 13
NOT_READY, CACHED = 14, 1
RUN_EXISTS = 4


def history(*events: tuple[Any, ...]) -> list[Event]:
    """Make events of (kind, run, epoch, who, value), a second apart; what is left out is empty."""
    return [Event(float(at), *event) for at, event in enumerate(events)]


def submitted(run: str = "r", **fields: Any) -> tuple[Any, ...]:
    return "submitted", run, 0, "c", Spec(client="c", **fields)


def given(
    epoch: int = E1, run: str = "r", inputs: dict[str, bytes] | None = None, who: str = "w"
) -> tuple[Any, ...]:
    return "given", run, epoch, who, (1, inputs or {}, "agent")


def ended(epoch: int = E1, run: str = "r", how: str = "succeeded", who: str = "w") -> tuple[Any, ...]:
    return "ended", run, epoch, who, how


def recorded(
    state: int = COMPLETED, epoch: int = E1, run: str = "r", reason: int = 0, infra: int = 0
) -> tuple[Any, ...]:
    return "recorded", run, epoch, "", (state, reason, 1, infra, b"x")


def lost(epoch: int = E1, infra: int = 1, run: str = "r") -> tuple[Any, ...]:
    return "event", run, epoch, "", (READY, AGENT_LOST, 1, infra)


def executed(run: str, epoch: int, **fields: Any) -> tuple[tuple[Any, ...], ...]:
    return (
        submitted(run, cache_key="k", **fields),
        given(epoch, run),
        ended(epoch, run),
        recorded(COMPLETED, epoch, run),
    )


def cached(run: str, result: bytes) -> tuple[Any, ...]:
    return "recorded", run, 0, "", (COMPLETED, CACHED, 1, 0, result)


SUBMITTED, GIVEN, ENDED, RECORDED = submitted(), given(), ended(), recorded()
FINAL = "final", "r", 0, "", (COMPLETED, b"x")
DISPATCHED = "dispatched", "r", E1, "agent"
DIED = "died", "", 0, "agent"
HEAD = submitted("head", lost="r")
HOOK = submitted("hook", head="head", may_come=("r",))
CHILD = submitted("child", upstream=("r",))
SAID = ("said", "r", 0, "", "Finished in state Failed()")
LOGGED, LOG_RECORDED = ("logged", "r", E1, "w", "a"), ("log_recorded", "r", 0, "", "a")
STRUCK = "struck", "", 0, "agent", 1
WHOLE = history(SUBMITTED, ("inserted", "r"), DISPATCHED, GIVEN, ENDED, RECORDED, FINAL)

BROKEN: dict[str, list[Event]] = {
    "acknowledged-runs-are-recorded": history(SUBMITTED, ("acknowledged", "r", 0, "c")),
    "one-end": history(RECORDED, recorded(FAILED)),
    "told-is-recorded": history(("told", "r", 0, "c", (COMPLETED, b"y")), FINAL),
    "bad-ends-are-listed": history(("final", "r", 0, "", (FAILED, None))),
    "refused-is-not-recorded": history(
        SUBMITTED, ("refused", "r", 0, "c", (7, "full")), ("inserted", "r"), FINAL
    ),
    "completed-was-executed": history(SUBMITTED, GIVEN, RECORDED),
    "order": history(SUBMITTED, CHILD, given(E2, "child"), RECORDED),
    "one-execution-per-epoch": history(GIVEN, ENDED, GIVEN, ENDED),
    "epochs-increase": history(("dispatched", "r", E2, "a"), DISPATCHED),
    "nothing-from-superseded-epochs": history(DISPATCHED, ("dispatched", "r", E2, "b"), RECORDED),
    "nothing-from-superseded-owners": history(("late_commit", "", 0, "server", (1, 2))),
    "what-is-restated-goes-on": history(GIVEN, ("disowned", "r", E1, "agent")),
    "infra-retries-were-given": history(SUBMITTED, given(run="other"), DISPATCHED, lost()),
    "failures-count-once": history(
        submitted(max_retries=1, failures=1), GIVEN, ended(how="failed"), recorded(FAILED)
    ),
    "code-is-there": history(SUBMITTED, recorded(FAILED, reason=CODE_UNAVAILABLE)),
    "crashed-after-enough": history(
        submitted(max_infra_retries=1), GIVEN, recorded(CRASHED, reason=AGENT_LOST)
    ),
    "cancelled-stays-cancelled": history(("cancel_acknowledged", "r", 0, "", CANCELLING), RECORDED),
    "cancelled-by-somebody": history(SUBMITTED, recorded(CANCELLED)),
    "peers-go-on": history(("peer_ended", "", 0, "agent", ("Superseded", False))),
    "credit-holds": history(("overdrawn", "", 0, "agent", (3, 2))),
    "ghost": history(("ghost", "r", E1, "", 0.0)),
    "stray": history(("stray", "r", E1, "", 0.0)),
    "calls-have-their-caller": history(submitted(caller="x"), ("inserted", "r", 0, "", ("", "c"))),
    "calls-go-on": history(submitted(calls=1), GIVEN, ended(how="failed")),
    "nothing-is-assigned-for-nobody": history(
        ("terms", "", 0, "", Terms(1.0, 4)),
        SUBMITTED,
        ("died", "", 0, "c"),
        ("whole",),
        *[("refused", "other", 0, "", (6, "busy"))] * 20,
        DISPATCHED,
    ),
    "waiting-is-refused-to-too-many-only": history(
        ("terms", "", 0, "", Terms(1.0, 4)),
        submitted(calls=1),
        GIVEN,
        recorded(FAILED, reason=WAITING_REFUSED),
    ),
    "processes-have-a-ceiling": history(("crowded", "", 0, "agent", (9, 8))),
    "nothing-executes-unseen": history(("executing", "r", E1, "w")),
    "one-execution-at-a-time": history(*executed("r", E1), *executed("s", E2)),
    "cached-results-are-of-the-key": history(
        *executed("r", E1), submitted("s", cache_key="k"), cached("s", b"other")
    ),
    "followers-have-a-leader": history(("leaderless", "r", 0, "", 0.0)),
    "starved": history(("starved", "r", E1, "", 0.0)),
    "spin": [Event(1.0 + at / 1000, "commit_failed", who="server") for at in range(100)],
    "unhandled": history(("unhandled", "", 0, "", "NameError: x")),
    "fatal": history(("fatal", "", 0, "server", "IndexError")),
    "liveness": history(("open", "r", E1, "", "ASSIGNED")),
    "results-are-right": history(submitted(returns=b"y"), RECORDED),
    "not-ready-by-upstream": history(CHILD, RECORDED, recorded(NOT_READY, run="child")),
    "what-is-not-lost-is-not-undone": history(HEAD, RECORDED, given(run="head")),
    "undone-in-order": history(HEAD, HOOK, ("inserted", "r"), recorded(run="head"), given(run="hook")),
    "one-execution-per-key": history(
        submitted(cache_key="k"), submitted("s", cache_key="k"), RECORDED, recorded(run="s")
    ),
    "cached-is-not-executed": history(ENDED, recorded(reason=CACHED)),
    "repeats-change-nothing": history(("repeated", "r", 0, "c", (True, RUN_EXISTS))),
    "one-run-per-id": history(("accepted", "r", 0, "c", "first"), ("accepted", "r", 0, "c", "other")),
    "logged-once": history(LOGGED, LOG_RECORDED, LOG_RECORDED),
    "logs-are-complete": history(LOGGED, RECORDED),
    "ends-are-said-once": history(recorded(FAILED), SAID, SAID),
}
KEPT: dict[str, list[Event]] = {
    "acknowledged-runs-are-recorded": history(SUBMITTED, ("acknowledged", "r", 0, "c"), ("inserted", "r")),
    "one-end": history(RECORDED, recorded(FAILED, run="other")),
    "told-is-recorded": history(("told", "r", 0, "c", (COMPLETED, b"x")), FINAL),
    "bad-ends-are-listed": history(
        FINAL, ("final", "s", 0, "", (FAILED, None)), ("listed", "s", 0, "", FAILED)
    ),
    "refused-is-not-recorded": history(("refused", "r", 0, "c", (6, "busy")), ("inserted", "r"), FINAL),
    "completed-was-executed": WHOLE,
    "order": history(SUBMITTED, CHILD, RECORDED, given(E2, "child", {"r": b"x"})),
    "one-execution-per-epoch": history(GIVEN, given(who="another worker"), ended(who="another worker")),
    "epochs-increase": history(DISPATCHED, ("dispatched", "r", LATER_OWNER, "a")),
    "nothing-from-superseded-epochs": history(DISPATCHED, RECORDED, ("dispatched", "r", E2, "b")),
    "infra-retries-were-given": history(SUBMITTED, given(run="other"), DISPATCHED, DIED, lost()),
    "failures-count-once": history(
        submitted(max_retries=1, failures=2), GIVEN, ended(how="failed"), given(E2), ended(E2, how="failed"),
        recorded(FAILED, E2),
    ),
    "code-is-there": history(SUBMITTED, recorded(FAILED)),
    "crashed-after-enough": history(
        submitted(max_infra_retries=1), GIVEN, given(E2), recorded(CRASHED, E2, reason=WORKER_DIED, infra=1)
    ),
    "cancelled-stays-cancelled": history(("cancel_acknowledged", "r", 0, "", COMPLETED), RECORDED),
    "cancelled-by-somebody": history(SUBMITTED, ("away", "", 0, "c"), recorded(CANCELLED)),
    "peers-go-on": history(("peer_ended", "", 0, "agent", ("Superseded", True))),
    "one-execution-at-a-time": history(*executed("r", E1), *executed("s", E2, refresh=True)),
    "cached-results-are-of-the-key": history(
        *executed("r", E1), submitted("s", cache_key="k"), cached("s", b"x")
    ),
    "calls-have-their-caller": history(submitted(caller="x"), ("inserted", "r", 0, "", ("x", "c"))),
    "nothing-is-assigned-for-nobody": history(
        ("terms", "", 0, "", Terms(1.0, 4)), SUBMITTED, DISPATCHED, ("died", "", 0, "c"), ("whole",),
        *[("refused", "other", 0, "", (6, "busy"))] * 20, ("dispatched", "r", E2, "b"),
    ),
    "calls-go-on": history(submitted(calls=1, failures=1), GIVEN, ended(how="failed")),
    "waiting-is-refused-to-too-many-only": history(
        ("terms", "", 0, "", Terms(1.0, 0)), submitted(calls=1), GIVEN,
        recorded(FAILED, reason=WAITING_REFUSED),
    ),
    "spin": [Event(at / 10, "commit_failed", who="server") for at in range(100)],
    "results-are-right": history(submitted(returns=b"x"), RECORDED),
    "not-ready-by-upstream": history(CHILD, recorded(CRASHED), recorded(NOT_READY, run="child")),
    "what-is-not-lost-is-not-undone": history(HEAD, recorded(CRASHED), given(run="head")),
    "undone-in-order": history(
        HEAD, HOOK, ("inserted", "r"), recorded(run="head"), recorded(FAILED), given(run="hook")
    ),
    "one-execution-per-key": history(
        submitted(cache_key="k"), submitted("s", cache_key="k"), RECORDED, recorded(run="s", reason=CACHED)
    ),
    "cached-is-not-executed": history(ended(how="failed"), recorded(reason=CACHED)),
    "repeats-change-nothing": history(
        ("repeated", "r", 0, "c", (True, 0)), ("repeated", "r", 0, "c", (False, RUN_EXISTS))
    ),
    "one-run-per-id": history(("accepted", "r", 0, "c", "first"), ("accepted", "s", 0, "c", "other")),
    "logged-once": history(LOGGED, LOG_RECORDED),
    "ends-are-said-once": history(recorded(FAILED), SAID, RECORDED),
    "logs-are-complete": history(
        ("logged", "r", E1, "one that died", "b"), LOGGED, RECORDED, LOG_RECORDED
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_history_that_breaks_a_rule(name: str):
    assert name in {violation.rule for violation in violations(BROKEN[name])}


@pytest.mark.parametrize("name", KEPT)
def test_a_history_that_keeps_it(name: str):
    assert name not in {violation.rule for violation in violations(KEPT[name])}


def test_log_records_may_be_missing_of_which_somebody_said_so():
    lost_one = history(SUBMITTED, GIVEN, LOGGED, ENDED, RECORDED, FINAL, ("logs_dropped", "", 0, "agent", 1))
    broken = {violation.rule for violation in violations(lost_one)}
    assert "logs-are-complete" not in broken
    assert "logs-are-complete" in {violation.rule for violation in violations(lost_one[:-1])}


def test_a_run_must_not_be_replaced_by_another_one_under_its_id():
    replaced = history(("repeated", "r", 0, "c", (False, 0)))
    assert "repeats-change-nothing" in {violation.rule for violation in violations(replaced)}


def test_each_process_that_was_ended_accounts_for_one_attempt():
    other = submitted("s"), ("dispatched", "s", E2, "agent")
    both = history(SUBMITTED, given(run="else"), DISPATCHED, *other, STRUCK, lost(), lost(E2, run="s"))
    [violation] = violations(both)
    assert violation.rule == "infra-retries-were-given"
    assert violations(both[:-1]) == []


def test_nothing_is_wrong_with_an_ordinary_run():
    assert violations(WHOLE) == []


def test_rules_are_told_by_what_they_found():
    [violation] = violations(BROKEN["ghost"])
    assert "r" in violation.text
    assert f"{E1:x}" in violation.text


def test_histories_have_no_events_of_other_kinds():
    kinds = {event.kind for events in (*BROKEN.values(), *KEPT.values()) for event in events}
    assert kinds <= KINDS.keys()
