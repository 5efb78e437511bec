"""Keeps one agent process running beside the local yard."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from taskyard_contract.programs.dying_with_parent import before_exec
from taskyard_contract.programs.private_files import umask_of_users
from taskyard_controlplane.child_keeper import ChildKeeper


class AgentKeeper(ChildKeeper):
    """A context in which an agent runs. The agent starts at once, before anything heavy is imported."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Keep the process of `command` running; `environment` adds to what this process has."""
        super().__init__("the agent")
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._before_exec = before_exec(signal.SIGTERM)

    async def ended(self, seconds: float) -> None:
        """Wait until an agent that was asked to end has done so, at most so long."""
        await asyncio.to_thread(self.join, seconds)

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start the agent.

        Raises:
            OSError: It could not be started now.
        """
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # the yard's own standard output is one line
            preexec_fn=self._before_exec,  # calls into the kernel only
            umask=umask_of_users(),  # it is their tasks that inherit it
            start_new_session=True,  # Ctrl-C is for the yard, which ends the agent in order
        )
