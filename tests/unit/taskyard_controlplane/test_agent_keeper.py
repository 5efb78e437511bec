"""The yard's agent is restarted with growing delays, and ends with the yard."""

import sys

from taskyard_controlplane.agent_keeper import LONGEST_DELAY_SECONDS, STABLE_SECONDS, AgentKeeper, Backoff


def test_delays_grow_up_to_a_limit() -> None:
    backoff = Backoff()
    delays = [backoff.after_run(0) for _ in range(10)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.2, LONGEST_DELAY_SECONDS)


def test_an_agent_that_lasted_is_restarted_soon() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.after_run(0)
    assert backoff.after_run(STABLE_SECONDS) == 0.2


def test_leaving_the_context_ends_the_agent() -> None:
    with AgentKeeper([sys.executable, "-c", "input()"]) as keeper:
        pass
    assert keeper.pid is None
