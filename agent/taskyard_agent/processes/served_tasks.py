"""What an agent announces of the tasks that it serves: asked of a process that imports their modules.

The agent's own process runs no code of users, and a module may do anything while it is imported.
"""

import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from taskyard_agent.runner.serving import probe_command, read_offers
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.programs.private_files import umask_of_users

logger = logging.getLogger(__name__)

IMPORT_SECONDS: Final = 300.0
"""A module that takes longer does something else than being imported."""


def offers_of(modules: Sequence[str]) -> list[pb.TaskOffer] | None:
    """Return what modules offer; None when they cannot be served, which has been said on standard error."""
    if not modules:
        return []
    try:
        probe = subprocess.run(
            probe_command(modules),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sys.stderr.fileno(),
            umask=umask_of_users(),
            timeout=IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        logger.error("%s: not imported within %g seconds", ", ".join(modules), IMPORT_SECONDS)
        return None
    if probe.returncode:
        logger.error("%s: cannot be served", ", ".join(modules))
        return None
    return read_offers(probe.stdout)
