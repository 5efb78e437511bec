"""Whoever crowds an agent with waiting runs does not keep the runs of other sessions from it."""

from types import SimpleNamespace
from typing import Any

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.intake import Intake
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_api.v1 import template_pb2

CROWD, OTHER = 1, 2
MOST = 40
TEMPLATE = LocalTemplate(1, template_pb2.TemplateDefinition())


class Crowded:
    """An agent of one slot, and how many runs of each session wait there."""

    def __init__(self, **waiting: int) -> None:
        self.waiting = {CROWD: waiting.get("crowd", 0), OTHER: waiting.get("other", 0)}
        self.given_back: list[bytes] = []
        self.holdings = Holdings()
        told: Any = SimpleNamespace(wake=lambda: None, give_back=self._given_back)
        self.holdings.session = told
        self.intake = Intake(
            1,
            self.holdings,
            lambda: sum(self.waiting.values()),
            latest=lambda: b"latest",
            most_waiting=MOST,
            whose=lambda: frozenset(share for share, count in self.waiting.items() if count),
        )
        self._epoch = 0
        self.intake.weigh()

    def _given_back(self, keys: Any) -> None:
        self.given_back += [key.run_id for key in keys]

    def comes(self, share: int, caller: bytes = b"") -> Span | None:
        """Assign a run; returns it if it is wanted."""
        self._epoch += 1
        run_id = self._epoch.to_bytes(16, "big")
        chunk = Chunk(TEMPLATE, self._epoch, run_id, b"", nested=bool(caller), caller=caller, share=share)
        span = self.holdings.accept(chunk)
        if not self.intake.wants(span):
            self.holdings.give_back([span])
            return None
        self.intake.queue.add(span)
        return span

    def starts(self) -> list[Span]:
        taken = []
        while (span := self.intake.next()) is not None:
            self.intake.gave(span)
            taken.append(span)
        return taken


def test_only_nested_runs_are_wanted_of_who_crowds_an_agent() -> None:
    it = Crowded(crowd=2)
    assert it.intake.demand()[3:5] == (True, (CROWD,))
    assert it.comes(CROWD) is None
    nested, new = it.comes(CROWD, caller=b"p"), it.comes(OTHER)
    assert it.starts() == [nested, new]


def test_nobody_is_restricted_where_few_runs_wait() -> None:
    it = Crowded(crowd=1)
    assert it.intake.demand()[3:5] == (False, ())
    assert it.comes(CROWD) is not None


def test_what_is_queued_of_who_begins_to_wait_is_given_back() -> None:
    it = Crowded()
    queued = [it.comes(CROWD), it.comes(OTHER)]
    it.waiting[CROWD] = 2
    it.intake.weigh()
    assert [span.chunk.share for span in it.intake.queue] == [OTHER]
    it.waiting[OTHER] = 1
    it.intake.weigh()
    assert it.given_back == [span.key(0).run_id for span in queued if span is not None]
    assert it.intake.demand().nested_only_shares == (CROWD, OTHER)


def test_a_deep_agent_starts_what_the_latest_waits_for_and_what_others_have() -> None:
    it = Crowded(crowd=MOST // 2)
    elsewhere, latest, new = it.comes(CROWD, b"other"), it.comes(CROWD, b"latest"), it.comes(OTHER)
    assert it.starts() == [latest, new]
    assert list(it.intake.queue) == [elsewhere]


def test_where_as_many_wait_as_may_nothing_new_starts_of_anybody() -> None:
    it = Crowded(crowd=MOST)
    assert it.intake.demand()[3:5] == (True, ())
    assert it.comes(OTHER) is None
