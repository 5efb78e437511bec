"""What an agent announces of the tasks that it serves: asked of a process that imports their modules.

The agent's own process runs no code of users, and a module may do anything while it is imported: it may hang,
and it may leave processes behind. So the answer is in a file, which nobody has to wait for the end of, and
all that the probe has started ends with it.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Final

from taskyard_agent.runner.serving import IMPORT_SECONDS, probe_command, read_offers
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.programs.private_files import umask_of_users

logger = logging.getLogger(__name__)

MORE_SECONDS: Final = 10.0
"""For a probe that says itself which module is not imported in time; some cannot be interrupted."""


def offers_of(modules: Sequence[str], seconds: float = IMPORT_SECONDS) -> list[pb.TaskOffer] | None:
    """Return what modules offer; None when they cannot be served, which has been said on standard error.

    Args:
        modules: Their names.
        seconds: How long importing all of them may take.
    """
    if not modules:
        return []
    with TemporaryFile() as answer:
        probe = subprocess.Popen(
            probe_command(modules, seconds),
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=sys.stderr.fileno(),
            umask=umask_of_users(),
            process_group=0,
        )
        try:
            probe.wait(seconds + MORE_SECONDS)
        except subprocess.TimeoutExpired:
            logger.error("%s: not imported within %g seconds", ", ".join(modules), seconds)
        finally:
            _end(probe)
        answer.seek(0)
        told = answer.read()
    if probe.returncode:
        logger.error("%s: cannot be served", ", ".join(modules))
        return None
    return read_offers(told)


def _end(probe: subprocess.Popen[bytes]) -> None:
    """End a probe, and what its modules have started."""
    with suppress(ProcessLookupError):
        os.killpg(probe.pid, signal.SIGKILL)
    probe.wait()
