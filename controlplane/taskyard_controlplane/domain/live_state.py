"""What only the owner knows about an open run, in a form that can be handed out."""

from typing import NamedTuple


class LiveState(NamedTuple):
    """An open run at one moment.

    The database keeps an open run as it was inserted, so whoever shows one needs this as well. It is a copy,
    because the run itself goes on changing on the owner's event loop.
    """

    state: int
    reason: int
    attempt: int
    infra_retries: int
    started_us: int | None
    agent_name: str
    agent_id: str = ""
    progress: bytes = b""
    """What it said last of its progress: a serialised `Payload`, nothing when it said nothing."""
    waits_for: str = ""
    """What has to come before it can be executed, for people; empty when it only waits for its turn."""


class InHand(NamedTuple):
    """A run that an agent, or a session, has in hand at one moment."""

    seq: int
    kind: int
    task_name: str
    caller_task_name: str
    """Of the run that has called it; empty when that is the flow run itself, or has ended."""
    state: int
