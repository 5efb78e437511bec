"""What lies between the agent and one worker: two sockets, a progress board, and pipes for what it prints.

Data and control are apart, because a worker reads data between runs only, and has to answer on the other one
while user code is busy.
Invariant: they are opened together or not at all; a machine that is short of descriptors is no place to leak.
"""

import os
import socket
from contextlib import ExitStack

from taskyard_agent.runner import progress_board


class WorkerLines:
    """The agent's and the worker's ends."""

    def __init__(self) -> None:
        """Open them; whoever hands the far ends over closes them here.

        Raises:
            OSError: The machine has no descriptor, or no memory, for one of them.
        """
        with ExitStack() as opened:
            self.data, self.far_data = _both(opened, socket.SOCK_STREAM)
            # Messages, no stream: a request is whole or not there, and a full socket says so at once.
            self.control, self.far_control = _both(opened, socket.SOCK_SEQPACKET)
            self.far_board = progress_board.create()
            opened.callback(os.close, self.far_board)
            self.board = progress_board.BoardReader(self.far_board)
            self.output, self.far_output = _pipe(opened)
            self.errors, self.far_errors = _pipe(opened)
            opened.pop_all()

    def descriptors(self) -> list[int]:
        """Return what the worker gets."""
        sockets = self.far_data.fileno(), self.far_control.fileno()
        return [*sockets, self.far_board, self.far_output, self.far_errors]

    def close_far(self) -> None:
        """Close what the worker has got: its end must be the last one, or its death would not be heard."""
        self.far_data.close()
        self.far_control.close()
        for descriptor in (self.far_board, self.far_output, self.far_errors):
            os.close(descriptor)


def _both(opened: ExitStack, kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    for end in (near, far):
        opened.callback(end.close)
    return near, far


def _pipe(opened: ExitStack) -> tuple[int, int]:
    near, far = os.pipe2(os.O_CLOEXEC)
    for end in (near, far):
        opened.callback(os.close, end)
    os.set_blocking(near, False)
    return near, far
