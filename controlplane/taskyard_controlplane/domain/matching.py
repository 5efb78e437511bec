"""Matching: which agents can execute the runs of a template.

Pure: a template's `Need` is compared with an agent's `Offer`, rule by rule. The rules are data, so that a new
one (an environment, a Python version, resources) is a field on both sides and a line in `_RULES`.

Both sides change rarely, runs come by the ten thousand. So a need is made once per template, equal needs are
grouped (a queue keeps the runs of each need apart), and whoever dispatches asks once per agent and need.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from taskyard_contract.capabilities import CODE_PREFIX, ENVIRONMENT_PREFIX, PYTHON_PREFIX

Labels = frozenset[tuple[str, str]]
"""Names with their values."""


class Need(NamedTuple):
    """What the runs of a template need of the agent that executes them. Equal needs are met by the same
    agents.
    """

    queue: str
    code: str = ""
    """The kind of code, `code/...`; empty when there is none, which any agent can say as well as another."""
    encoding: str = ""
    """Of arguments; empty when the template names none."""
    labels: Labels = frozenset()
    """What the agent must be labelled with."""
    result_encoding: str = ""
    """Of results; empty when the template names none."""
    task: str = ""
    """The name that the task is registered under; empty when its code is found otherwise."""
    python: str = ""
    """The version that has compiled the code; empty when any will do."""
    environment: str = ""
    """What the code needs around it; empty when it needs nothing in particular."""
    world: tuple[bytes, int] | None = None
    """That of the program which hands variables over for its workers; None when it hands over none. It has no
    part in matching: no agent is of use before the program is there."""
    coroutine: bool = False
    """Whether its function is a coroutine function: any agent executes it, many have room for these apart."""
    served_as: str = ""
    """The name by which programs serve it that have it in their own code; empty when none is looked for."""

    @property
    def lane(self) -> str:
        """A name for runs with this need, to keep them apart where only a text can be kept."""
        labels = f", {dict(sorted(self.labels))}" if self.labels else ""
        others = "".join(
            f", {what} {value!r}"
            for what, value in (
                ("results in", self.result_encoding if self.result_encoding != self.encoding else ""),
                ("task", self.task),
                ("Python", self.python),
                ("environment", self.environment),
                ("program", f"{self.world[0].hex()}/{self.world[1]}" if self.world else ""),
                ("coroutines", "yes" if self.coroutine else ""),
                ("served as", self.served_as),
            )
            if value
        )
        return f"{self.queue} ({self.code or 'any code'}, {self.encoding or 'any encoding'}{labels}{others})"


class Offer(NamedTuple):
    """What an agent announced. None where it announced nothing: it may be able to do anything, as agents were
    taken to be before they were asked.
    """

    queues: tuple[str, ...]
    """In the order in which it wants to serve them."""
    codes: frozenset[str] | None = None
    encodings: frozenset[str] | None = None
    labels: Labels = frozenset()
    """Nothing announced is nothing there: labels are what somebody chose to say of an agent."""
    tasks: frozenset[str] | None = None
    """Names under which its program has registered tasks."""
    pythons: frozenset[str] | None = None
    environments: frozenset[str] = frozenset()
    """As labels: one that is not announced is not there."""
    serves: frozenset[str] = frozenset()
    """Names of tasks that its program has in its own code."""


class Mismatch(Enum):
    """Why an agent cannot execute a run, as people read it."""

    QUEUE = "does not serve its queue"
    CODE = "cannot load its kind of code"
    ENCODING = "does not know the encoding of its arguments or of its result"
    LABELS = "does not have the labels it asks for"
    TASK = "has no task registered under its name"
    PYTHON = "has another version of Python"
    ENVIRONMENT = "does not have its environment"


def offer_of(
    queues: Iterable[str],
    capabilities: Iterable[str],
    labels: Mapping[str, str] | None = None,
    tasks: Iterable[str] = (),
    serves: Iterable[str] = (),
) -> Offer:
    """Read what an agent announced.

    Who names any kind of code can load no other, and the same with encodings; who names none leaves the
    question open. A word that is neither is for somebody else.
    """
    words = frozenset(word for word in capabilities if "/" in word)
    codes, pythons, environments = (
        frozenset(word for word in words if word.startswith(prefix))
        for prefix in (CODE_PREFIX, PYTHON_PREFIX, ENVIRONMENT_PREFIX)
    )
    encodings = words - codes - pythons - environments
    return Offer(
        tuple(dict.fromkeys(queues)),
        codes or None,
        encodings or None,
        frozenset((labels or {}).items()),
        frozenset(tasks) or None,
        frozenset(word.removeprefix(PYTHON_PREFIX) for word in pythons) or None,
        frozenset(word.removeprefix(ENVIRONMENT_PREFIX) for word in environments),
        frozenset(filter(None, serves)),
    )


def _serves_queue(need: Need, offer: Offer) -> bool:
    return need.queue in offer.queues


def _loads_code(need: Need, offer: Offer) -> bool:
    # Whoever has the code already need not load it.
    return not need.code or offer.codes is None or need.code in offer.codes or has_task(need, offer)


def has_task(need: Need, offer: Offer) -> bool:
    """Say whether an agent's program has the task in its own code."""
    return need.served_as in offer.serves


def _knows_encoding(need: Need, offer: Offer) -> bool:
    return offer.encodings is None or all(
        not encoding or encoding in offer.encodings for encoding in (need.encoding, need.result_encoding)
    )


def _has_labels(need: Need, offer: Offer) -> bool:
    return need.labels <= offer.labels


def _has_task(need: Need, offer: Offer) -> bool:
    return not need.task or offer.tasks is None or need.task in offer.tasks


def _has_python(need: Need, offer: Offer) -> bool:
    return not need.python or offer.pythons is None or need.python in offer.pythons


def _has_environment(need: Need, offer: Offer) -> bool:
    return not need.environment or need.environment in offer.environments


_RULES: Final[tuple[tuple[Mismatch, Callable[[Need, Offer], bool]], ...]] = (
    (Mismatch.QUEUE, _serves_queue),
    (Mismatch.CODE, _loads_code),
    (Mismatch.ENCODING, _knows_encoding),
    (Mismatch.LABELS, _has_labels),
    (Mismatch.TASK, _has_task),
    (Mismatch.PYTHON, _has_python),
    (Mismatch.ENVIRONMENT, _has_environment),
)
"""In the order in which reasons are worth telling: who serves another queue was never meant."""


def mismatch(need: Need, offer: Offer) -> Mismatch | None:
    """Return the first reason why an agent cannot execute runs with this need; None when it can."""
    return next((reason for reason, holds in _RULES if not holds(need, offer)), None)


def matches(need: Need, offer: Offer) -> bool:
    """Whether an agent can execute runs with this need."""
    return mismatch(need, offer) is None


class Lack(NamedTuple):
    """What no agent has that runs wait for."""

    mismatch: Mismatch | None
    """What the agents lack that come closest; None when there are no agents at all."""
    text: str
    """For people."""
    facts: tuple[tuple[str, str], ...]
    """What is asked for, by what it is."""


def lacking(need: Need, offers: Iterable[Offer]) -> Lack | None:
    """Say what no agent has that runs with this need wait for; None when some agent can execute them.

    Of several agents the one counts that comes closest: the others were never meant.
    """
    closest: Mismatch | None = None
    for offer in offers:
        reason = mismatch(need, offer)
        if reason is None:
            return None
        if closest is None or _ORDER.index(reason) > _ORDER.index(closest):
            closest = reason
    if closest is None:
        return Lack(None, "no agent is connected", (("queue", need.queue),))
    return Lack(closest, f"no agent {_WANTED[closest](need)}", _FACTS[closest](need))


def missing(need: Need, offers: Iterable[Offer]) -> str:
    """Say what `lacking` says, for people; "" when some agent can execute runs with this need."""
    lack = lacking(need, offers)
    return "" if lack is None else lack.text


_ORDER: Final = tuple(reason for reason, _ in _RULES)
_WANTED: Final[Mapping[Mismatch, Callable[[Need], str]]] = {
    Mismatch.QUEUE: lambda need: f"serves queue '{need.queue}'",
    Mismatch.CODE: lambda need: (
        f"loads its kind of code ({need.code})"
        + (f", and no program serves '{need.served_as}'" if need.served_as else "")
    ),
    Mismatch.ENCODING: lambda need: f"knows its encodings ({need.encoding}, {need.result_encoding})",
    Mismatch.LABELS: lambda need: (
        "is labelled " + ", ".join(f"{name}={value}" for name, value in sorted(need.labels))
    ),
    Mismatch.TASK: lambda need: f"has registered a task '{need.task}'",
    Mismatch.PYTHON: lambda need: f"runs Python {need.python}",
    Mismatch.ENVIRONMENT: lambda need: f"has the environment '{need.environment}'",
}
"""What is missing where each reason is the closest."""
_FACTS: Final[Mapping[Mismatch, Callable[[Need], tuple[tuple[str, str], ...]]]] = {
    Mismatch.QUEUE: lambda need: (("queue", need.queue),),
    Mismatch.CODE: lambda need: (
        ("code", need.code),
        *((("served_as", need.served_as),) if need.served_as else ()),
    ),
    Mismatch.ENCODING: lambda need: (("encoding", need.encoding), ("result_encoding", need.result_encoding)),
    Mismatch.LABELS: lambda need: tuple((f"label {name}", value) for name, value in sorted(need.labels)),
    Mismatch.TASK: lambda need: (("task", need.task),),
    Mismatch.PYTHON: lambda need: (("python", need.python),),
    Mismatch.ENVIRONMENT: lambda need: (("environment", need.environment),),
}
"""The same for programs."""
