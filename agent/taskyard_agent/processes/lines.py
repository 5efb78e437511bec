"""What lies between the agent and one worker: two sockets and a progress board.

Data and control are apart, because a worker reads data between runs only, and has to answer on the other one
while user code is busy.
"""

import os
import socket

from taskyard_agent.runner import progress_board


class WorkerLines:
    """The agent's and the worker's ends."""

    def __init__(self) -> None:
        """Open them; whoever hands the far ends over closes them here."""
        self.data, self.far_data = socket.socketpair()
        # Messages instead of a stream: a request is whole or not there, and a full socket says so at once.
        self.control, self.far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.board = progress_board.create()

    def descriptors(self) -> list[int]:
        """Return the far ends and the board, in the order in which a forked worker takes them over."""
        return [self.far_data.fileno(), self.far_control.fileno(), self.board]

    def close_far(self) -> None:
        """Close what the worker has got: its end must be the last one, or its death would not be heard."""
        self.far_data.close()
        self.far_control.close()
        os.close(self.board)
