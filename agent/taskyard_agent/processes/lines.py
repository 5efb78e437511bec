"""What lies between the agent and one worker: two sockets and a progress board.

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
            opened.pop_all()

    def descriptors(self) -> list[int]:
        """Return what the worker gets."""
        return [self.far_data.fileno(), self.far_control.fileno(), self.far_board]

    def close_far(self) -> None:
        """Close what the worker has got: its end must be the last one, or its death would not be heard."""
        self.far_data.close()
        self.far_control.close()
        os.close(self.far_board)


def _both(opened: ExitStack, kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    for end in (near, far):
        opened.callback(end.close)
    return near, far
