"""SIGTERM over a fork, for processes that have a handler of their own for it.

Whoever forks may end the child at once, as pools of processes do. A signal that meets the child before it has
put the handler of its parent away would be taken by that handler and forgotten, because what Python has
noted of signals does not survive a fork; whoever waits for the child would wait for ever.
"""

import signal
import threading


class TerminationHold(threading.local):
    """Holds SIGTERM back in a thread that forks, and in the child; one for each handler: holds may nest."""

    _mask: set[int] | None = None
    """What the thread had blocked before."""

    def begin(self) -> None:
        """Hold it back; to be called before the fork."""
        # In two steps: where a handler raises for a signal that has just come, what was is known already. And
        # as numbers: not all signals that may be blocked have names.
        self._mask = set(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def end(self) -> None:
        """Let it through, unless the program itself has it blocked; in the parent and in the child."""
        mask, self._mask = self._mask, None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
