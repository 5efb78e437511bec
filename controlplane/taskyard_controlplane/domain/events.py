"""What can happen to a run. Inputs of the transition tables."""

from enum import IntEnum


class RunEvent(IntEnum):
    """One kind of thing that happens to a run."""

    UPSTREAM_DONE = 0
    """The last upstream run ended acceptably."""
    UPSTREAM_FAILED = 1
    """An upstream run ended in a state this run does not accept."""
    CACHE_KEY_KNOWN = 2
    """The worker computed the cache key from resolved arguments and gave the run back."""
    CACHE_HIT = 3
    """A usable result exists under the run's cache key."""
    CACHE_LEADS = 4
    """No result exists and nobody else computes one: this run does."""
    DISPATCHED = 5
    """Assigned to an agent under a new epoch."""
    ADOPTED = 6
    """An agent that survived the owner restated that it holds the run."""
    STARTED = 7
    """User code began."""
    SUCCEEDED = 8
    """User code returned."""
    FAILED = 9
    """User code raised, returned a failed state or took too long; a retry is allowed."""
    FAILED_FOR_GOOD = 10
    """As FAILED, but repeating would be pointless or was forbidden."""
    ENDED_CANCELLED = 11
    """User code ended in a cancelled state, or its process ended because of a cancellation."""
    INTERRUPTED = 12
    """User code was interrupted by a signal or an exit call."""
    LOST = 13
    """The worker that executed the run is gone: its agent says so."""
    GIVEN_BACK = 14
    """The agent gave the run back without starting it."""
    DUE = 15
    """The delay before a retry is over."""
    CANCEL_REQUESTED = 16
    """Somebody wants the run to end."""
    SESSION_LOST = 17
    """The session that owned the run is gone."""
    WITHDRAWN = 18
    """Nobody wants the run to start any more; what has started may finish."""
    INPUTS_REFUSED = 19
    """The results of its upstream runs are too large together to be sent to anybody."""
    AGENT_LOST = 20
    """The agent that held the run is gone, and whatever it had not reported yet is not known."""
    RESUMED = 21
    """A session takes the ended run over, to execute it once more."""


EVENT_COUNT = len(RunEvent)
