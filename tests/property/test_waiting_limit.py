"""However calls are nested and whatever order things happen in, an agent with a limit comes to an end.

A model of one agent and its server: trees of runs that submit others and wait for them, some of which are
executed elsewhere. What decides is the agent's own code; the order of everything, and how much time passes
in between, is made up.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard_agent.holding.admission import PATIENCE_SECONDS
from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.intake import Intake
from taskyard_agent.holding.templates import LocalTemplates
from taskyard_api.v1 import template_pb2

TEMPLATE = LocalTemplates().of(template_pb2.TemplateDefinition(index=1))
STEPS = 20_000
"""Far more than any of these trees needs, hundreds of lapses of patience among them."""


@dataclass(eq=False)
class Node:
    """A run that submits others and waits until all of them have ended."""

    number: int
    caller: "Node | None" = None
    elsewhere: bool = False
    children: list["Node"] = field(default_factory=list)
    ended: bool = False
    refused: bool = False

    @property
    def run_id(self) -> bytes:
        return self.number.to_bytes(16)

    def all(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.all()


class Agent:
    """One agent, and the server that sends it runs of the latest family first."""

    def __init__(self, slots: int, most: int, roots: list[Node]) -> None:
        self.slots, self.most = slots, most
        self.nodes = {node.run_id: node for root in roots for node in root.all()}
        self.ready: list[list[Node]] = [list(roots)]
        self.elsewhere: list[Node] = []
        self.executing: list[tuple[Node, Span]] = []
        self.waiting: list[tuple[Node, Span]] = []  # in the order in which they began to
        self.most_processes = 0
        self.now = 0.0
        self.holdings = Holdings()
        told: Any = SimpleNamespace(
            wake=lambda: None, give_back=self._given_back, report=lambda epoch, ids, columns: None
        )
        self.holdings.session = told
        self.intake = Intake(
            slots, self.holdings, lambda: len(self.waiting), self._latest, lambda: len(self.executing), most
        )
        self._epoch = 0

    def _latest(self) -> bytes | None:
        return self.waiting[-1][0].run_id if self.waiting else None

    def _given_back(self, keys: Any) -> None:
        self.ready[0][:0] = [self.nodes[key.run_id] for key in keys]

    def free(self) -> int:
        return self.slots + min(len(self.waiting), self.most) - len(self.executing) - len(self.waiting)

    def steps(self) -> list[Callable[[], None]]:
        """What could happen next, but for time passing."""
        found: list[Callable[[], None]] = []
        demand = self.intake.demand()
        if demand.in_hand < demand.window and self._next_family(demand.nested_only):
            found.append(lambda: self.deliver(self._next_family(demand.nested_only)))
        if self.free() > 0 and self.intake.queue.runs:
            found.append(self.start)
        found += [lambda at=at: self.go_on(at) for at in range(len(self.executing))]  # type: ignore[misc]
        found += [lambda at=at: self.end_elsewhere(at) for at in range(len(self.elsewhere))]  # type: ignore[misc]
        return found

    def _next_family(self, nested_only: bool) -> list[Node]:
        families = self.ready[1:] if nested_only else self.ready
        return next((family for family in reversed(families) if family), [])

    def deliver(self, family: list[Node]) -> None:
        node = family.pop(0)
        self._epoch += 1
        caller = node.caller.run_id if node.caller is not None else b""
        chunk = Chunk(TEMPLATE, self._epoch, node.run_id, b"", nested=bool(caller), caller=caller)
        span = self.holdings.accept(chunk)
        if self.intake.wants(span):
            self.intake.queue.add(span)
        else:
            self.holdings.give_back([span])

    def start(self) -> None:
        span = self.intake.next()
        if span is not None:
            self.executing.append((self.nodes[span.key(span.start).run_id], span))
            self.most_processes = max(self.most_processes, len(self.executing) + len(self.waiting))

    def go_on(self, at: int) -> None:
        """Let a run end, or submit what it has to and wait."""
        node, span = self.executing.pop(at)
        if all(child.ended for child in node.children):
            self._end(node, span)
            return
        self.ready.append([child for child in node.children if not child.elsewhere])
        self.elsewhere += [child for child in node.children if child.elsewhere]
        self.waiting.append((node, span))
        self.intake.weigh()

    def end_elsewhere(self, at: int) -> None:
        node = self.elsewhere.pop(at)
        self._ended(node)

    def _end(self, node: Node, span: Span) -> None:
        self.holdings.report(span, b"")
        self._ended(node)

    def _ended(self, node: Node) -> None:
        node.ended = True
        for entry in list(self.waiting):
            if all(child.ended for child in entry[0].children):
                self.waiting.remove(entry)
                self.executing.append(entry)
                self.intake.weigh()

    def pass_time(self) -> None:
        self.now += PATIENCE_SECONDS
        self.intake.reconsider(self.free() > 0, self.now)
        if self.intake.refuses(self.now):
            node, span = self.waiting.pop()
            node.refused = True
            for child in node.children:  # nobody waits for them any more
                child.ended = True
            self.ready = [[one for one in family if not one.ended] for family in self.ready]
            self.elsewhere = [one for one in self.elsewhere if not one.ended]
            self._end(node, span)
            self.intake.weigh()


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    numbers = iter(range(1, 10_000))

    def node(caller: Node | None, depth: int) -> Node:
        one = Node(next(numbers), caller, elsewhere=caller is not None and draw(st.integers(0, 9)) == 0)
        if depth and not one.elsewhere:
            one.children = [node(one, depth - 1) for _ in range(draw(st.integers(0, 3)))]
        return one

    return [node(None, draw(st.integers(1, 5))) for _ in range(draw(st.integers(1, 4)))]


def live(agent: Agent, random: Random, hurry: float) -> None:
    """Let things happen in some order; `hurry` is how likely something happens before time passes."""
    roots = [node for node in agent.nodes.values() if node.caller is None]
    for _ in range(STEPS):
        if all(root.ended for root in roots):
            return
        steps = agent.steps()
        if steps and random.random() < hurry:
            random.choice(steps)()
        else:
            agent.pass_time()
    raise AssertionError(
        f"nothing moves: {len(agent.waiting)} wait, {len(agent.executing)} are executed,"
        f" {agent.intake.queue.runs} are queued"
    )


@given(trees(), st.integers(1, 3), st.integers(1, 6), st.integers(0), st.sampled_from([0.5, 0.9, 1.0]))
@settings(max_examples=60, deadline=None)
def test_no_order_of_events_stops_an_agent(
    roots: list[Node], slots: int, most: int, seed: int, hurry: float
) -> None:
    agent = Agent(slots, most, roots)
    live(agent, Random(seed), hurry)
    assert agent.most_processes <= slots + most


def full_tree(depth: int, breadth: int) -> Node:
    numbers = iter(range(1, 100_000))

    def node(caller: Node | None, depth: int) -> Node:
        one = Node(next(numbers), caller)
        one.children = [node(one, depth - 1) for _ in range(breadth if depth else 0)]
        return one

    return node(None, depth)


@given(st.integers(1, 3), st.integers(0, 3), st.integers(2, 12), st.integers(0))
@settings(max_examples=15, deadline=None)
def test_breadth_alone_refuses_nothing(slots: int, more: int, breadth: int, seed: int) -> None:
    """What is wide and not deep is walked so that few wait, as long as runs come without much delay."""
    root = full_tree(2, breadth)
    agent = Agent(slots, 2 + slots + more, [root])
    live(agent, Random(seed), 0.999)
    assert not any(node.refused for node in root.all())


def test_what_is_nested_too_deeply_is_refused_and_all_of_it_ends() -> None:
    root = full_tree(12, 1)
    agent = Agent(1, 4, [root])
    live(agent, Random(0), 0.9)
    assert [node.refused for node in root.all()].count(True) >= 1
    assert agent.most_processes == 5


def test_a_chain_as_deep_as_the_limit_is_served() -> None:
    root = full_tree(4, 1)
    agent = Agent(1, 4, [root])
    live(agent, Random(0), 0.9)
    assert not any(node.refused for node in root.all())
