"""What follows from a transition, as bits. Outputs of the transition tables.

The owner writes what must be durable in the next commit and does everything else after it.
"""

from enum import IntFlag


class Effect(IntFlag):
    """One consequence of a transition."""

    NONE = 0
    ACCEPTED = 1
    """The event was accepted, even if nothing else follows."""
    RECORD_EVENT = 2
    """Append a row to the run's history."""
    RECORD_END = 4
    """Write the final state. The run's second and last row write."""
    ENQUEUE = 8
    """Put the run into the ready queue."""
    SET_RETRY_TIMER = 16
    """Wake the run when its delay is over."""
    SEND_CANCEL = 32
    """Tell the agent to end the run's process."""
    LOOK_UP_CACHE = 64
    """Find out whether the run's cache key has a result or a leader."""
    RELEASE_DOWNSTREAM = 128
    """Tell the runs that wait for this one."""
    NOTIFY = 256
    """Push the outcome to the session and to everybody else who waits for it."""
    SETTLE_CACHE = 512
    """Give the result to the runs waiting for this leader, or promote one of them."""
    NEXT_ATTEMPT = 1024
    """Count a failed attempt of user code."""
    INFRA_RETRY = 2048
    """Count an attempt that was lost with its worker or agent."""
    REQUEST_CANCEL = 4096
    """Ask the session that executes a flow's body to end it."""
    CANCEL_INSIDE = 8192
    """Cancel the open runs inside a flow run."""
    CONNECT_UPSTREAM = 16384
    """Let the run be told of the ends of its upstream runs."""
    STRIKE = 32768
    """Note that the run was lost with its agent, though it is not known to have started."""


AFTER_COMMIT = (
    Effect.ENQUEUE
    | Effect.SET_RETRY_TIMER
    | Effect.SEND_CANCEL
    | Effect.LOOK_UP_CACHE
    | Effect.RELEASE_DOWNSTREAM
    | Effect.NOTIFY
    | Effect.SETTLE_CACHE
    | Effect.REQUEST_CANCEL
    | Effect.CANCEL_INSIDE
)
"""Effects that may only be seen by others once the transition is durable."""
