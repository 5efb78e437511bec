"""Signals as a program in a terminal has them, whoever started the suite."""

import signal


def hear_interrupts() -> None:
    """Let this process, and all that it starts, be interrupted although its parent ignores SIGINT.

    ``nohup`` and shells without job control start background commands that way, and a process hands it on
    to its children. A program that is tested for what Ctrl-C does to it would never hear of it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
