"""``python -m taskyard_agent``: reads the command line, starts the zygote, then the agent.

The zygote comes first and this module imports no gRPC, so that workers warm up while the main process is
still loading.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Final

from taskyard_agent import waiting_limit
from taskyard_agent.holding.admission import COROUTINES_PER_SLOT
from taskyard_agent.holding.worlds import Interpreter
from taskyard_agent.processes.served_tasks import offers_of
from taskyard_agent.processes.zygote_client import ZygoteClient
from taskyard_agent.settings import DEFAULT_BLOB_BYTES, DEFAULT_GRACE, DEFAULT_QUEUE, Settings, default_name
from taskyard_contract.programs.home_directory import HomeUnusable, make_home
from taskyard_contract.programs.log_levels import UnknownLogLevel, log_level
from taskyard_contract.programs.log_lines import log_to_stderr
from taskyard_contract.programs.private_files import be_private
from taskyard_contract.transport.channels import target_of

MOST_COROUTINES: Final = 5_000
"""For each slot: as many again may wait for others in the same process."""


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line, and make the home directory if need be.

    Ends the process with a message when something of that, or of the environment, makes no sense.
    """
    parser = argparse.ArgumentParser(prog="taskyard_agent", description="Execute runs of a Taskyard server.")
    parser.add_argument(
        "--server", type=_address, required=True, metavar="ADDRESS", help="HOST:PORT or unix:PATH"
    )
    parser.add_argument(
        "--slots", type=_count_of("slots"), default=os.cpu_count() or 1, help="runs at the same time"
    )
    parser.add_argument("--queue", action="append", metavar="NAME", help="queue to serve; may be repeated")
    parser.add_argument("--name", default="", help="stable name of this agent (default: host and process)")
    parser.add_argument("--label", action="append", default=[], type=_label, metavar="KEY=VALUE")
    parser.add_argument("--preload", action="append", default=[], metavar="MODULE", help="import in workers")
    parser.add_argument(
        "--serve",
        action="append",
        default=[],
        metavar="MODULE",
        help="module whose tasks are served by their names; may be repeated",
    )
    parser.add_argument(
        "--grace", type=float, default=DEFAULT_GRACE, metavar="SECONDS", help="for running tasks when stopped"
    )
    _add_limits(parser)
    given = parser.parse_args(argv)
    try:
        settings = Settings(
            server=given.server,
            name=given.name or default_name(),
            slots=given.slots,
            queues=tuple(dict.fromkeys(given.queue or [DEFAULT_QUEUE])),
            labels=dict(given.label),
            preload=tuple(given.preload),
            serve=tuple(dict.fromkeys(given.serve)),
            grace=max(0.0, given.grace),
            max_waiting=_max_waiting(given.max_waiting, given.slots),
            coroutines=given.coroutines,
            blob_bytes=given.blob_bytes,
            log_level=log_level(os.environ),
        )
        make_home(settings.state_dir)
    except (HomeUnusable, TooManyDescriptors, UnknownLogLevel) as error:
        parser.error(str(error))
    return settings


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much there may be at a time."""
    parser.add_argument(
        "--max-waiting",
        type=_count_of("runs"),
        metavar="N",
        help="how many runs may wait for runs they have submitted, each in a process of its own (default: by"
        " free memory and open files)",
    )
    parser.add_argument(
        "--coroutines",
        type=_coroutines,
        default=COROUTINES_PER_SLOT,
        metavar="N",
        help="how many async tasks go on together for each slot, in one process (default:"
        f" {COROUTINES_PER_SLOT}; 0: each takes a slot, as other tasks do)",
    )
    parser.add_argument(
        "--blob-bytes",
        type=_count_of("bytes"),
        default=DEFAULT_BLOB_BYTES,
        metavar="N",
        help="how much of the large values of runs to keep in the agent's own directory, where it does not"
        " see that of the server; those used last stay (default: 2 GiB)",
    )


class TooManyDescriptors(ValueError):
    """More files would have to be open than this process may have."""


def _max_waiting(asked: int | None, slots: int) -> int:
    descriptors = waiting_limit.allowed_descriptors()
    if asked is None:
        return waiting_limit.default_limit(slots, waiting_limit.available_bytes(), descriptors)
    most = waiting_limit.most_by_descriptors(slots, descriptors)
    if asked > most:
        raise TooManyDescriptors(
            f"argument --max-waiting: {asked} processes need more open files than the {descriptors} this one"
            f" may have; give at most {most}, or raise the limit ('ulimit -n')"
        )
    return asked


def _address(text: str) -> str:
    try:
        target_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _count_of(what: str) -> Callable[[str], int]:
    """Return what reads how many there are of something, at least one."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of {what}; give 1 or more")
        return int(text)

    return read


def _coroutines(text: str) -> int:
    if not text.isdigit() or int(text) > MOST_COROUTINES:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of async tasks for each slot; give 0 to {MOST_COROUTINES:,}"
        )
    return int(text)


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"'{text}' is not a label; give KEY=VALUE")
    return key, value


def main(argv: Sequence[str] | None = None) -> int:
    """Run an agent; returns the exit code."""
    be_private()
    own_limit = waiting_limit.raise_descriptors()
    settings = parse(argv)
    log_to_stderr(settings.log_level)

    environment = {"TASKYARD_SERVER": settings.server}

    def start() -> ZygoteClient:
        return ZygoteClient(
            settings.blob_dir, settings.preload, environment, settings.serve, descriptors=own_limit
        )

    def start_other(interpreter: Interpreter) -> ZygoteClient:
        return ZygoteClient(
            settings.blob_dir, (), environment, interpreter=interpreter, descriptors=own_limit
        )

    # Before the zygote: it imports the same modules, and would only say once more why it cannot.
    offers = offers_of(settings.serve)
    if offers is None:
        return os.EX_UNAVAILABLE
    early = start()
    from taskyard_agent.app import run

    zygotes = chain([early], (start() for _ in repeat(None)))
    return run(settings, lambda: next(zygotes), offers, start_other)
