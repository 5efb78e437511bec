"""Tasks that a program serves by name: found in the modules it was told to import, announced, and executed.

Two processes import these modules, and never the agent's main process: a probe (this module as a program),
which only tells what there is and whether it can be imported, and the zygote, whose workers execute the
runs. The probe tells by one `AgentHello` on its standard output; a module that cannot be served is told in
words, on standard error, and by its exit code.
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import FrameType, ModuleType
from typing import Final, NoReturn

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.execution import Servable, TaskCode, is_servable
from taskyard_contract.failures import text_of, type_name

MOST_TASKS: Final = 1_024
"""What a hello may announce."""

MOST_OFFER_BYTES: Final = 2 * 1024 * 1024
"""Of all of them together: names, and as many descriptions and schemas as fit. Servers take 4 MiB."""


IMPORT_SECONDS: Final = 120.0
"""A module that takes longer does something else than being imported."""


class CannotServe(Exception):
    """A module cannot be imported, has no tasks, or has one of a name that is taken."""


class TooSlow(BaseException):
    """Modules are not imported in time. Not an `Exception`: a module must not take it for one of its own."""


class Registry:
    """Tasks by the name that runs call them by."""

    def __init__(self) -> None:
        """Begin without any."""
        self._tasks: dict[str, Servable] = {}
        self._places: dict[str, str] = {}

    def serve(self, modules: Iterable[str]) -> None:
        """Import modules and register every task in them.

        Raises:
            CannotServe: See there.
        """
        for name in modules:
            self._add_all(_imported(name))
        if len(self._tasks) > MOST_TASKS:
            raise CannotServe(
                f"there are {len(self._tasks):,} tasks, an agent announces up to {MOST_TASKS:,}"
            )

    def _add_all(self, module: ModuleType) -> None:
        found = {name: value for name, value in list(vars(module).items()) if is_servable(value)}
        if not found:
            raise CannotServe(f"the module '{module.__name__}' has no tasks: no function of it has @task")
        for attribute, task in found.items():
            self._add(task, f"{module.__name__}.{attribute}")

    def _add(self, task: Servable, place: str) -> None:
        known = self._tasks.setdefault(task.name, task)
        if known is not task:
            raise CannotServe(
                f"two tasks have the name '{task.name}': {self._places[task.name]} and {place}; give one of"
                " them another one: @task(name=...)"
            )
        self._places.setdefault(task.name, place)

    def code_of(self, name: str) -> TaskCode:
        """Return what executes the runs of a task.

        Raises:
            LookupError: No task has this name.
        """
        task = self._tasks.get(name)
        if task is None:
            known = ", ".join(sorted(self._tasks)) or "none; see 'taskyard agent start --serve'"
            raise LookupError(f"this agent serves no task of the name '{name}'; it serves {known}")
        return task.code_for_workers()

    def offers(self) -> list[pb.TaskOffer]:
        """Return how the tasks are announced; beyond some size by their names, so that they fit a frame."""
        offers = [task.offer() for task in self._tasks.values()]
        size = 0
        for offer in offers:
            size += offer.ByteSize()
            if size > MOST_OFFER_BYTES:
                offer.parameter_schema = offer.result_schema = offer.description = ""
        return offers


registered: Final = Registry()
"""What this process serves: a worker has it from its zygote."""


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except TooSlow as error:
        raise CannotServe(
            f"the module '{name}' is not imported after {error} seconds; what it does besides defining tasks"
            " belongs into functions, or below \"if __name__ == '__main__'\""
        ) from None
    except BaseException as error:  # foreign code: it may call exit, for example
        raise CannotServe(
            f"the module '{name}' cannot be imported here: {type_name(error)}: {text_of(error)}"
        ) from error


def probe_command(modules: Sequence[str], seconds: float) -> list[str]:
    """Return the command that tells what modules offer, if they can be imported within so many seconds."""
    return [sys.executable, "-m", "taskyard_agent.runner.serving", f"{seconds:g}", *modules]


def read_offers(told: bytes) -> list[pb.TaskOffer]:
    """Read what the probe has told."""
    return list(pb.AgentHello.FromString(told).tasks)


def main(seconds: float, modules: Sequence[str]) -> NoReturn:
    """Tell what modules offer, and leave."""
    answer, own_pid = os.dup(sys.stdout.fileno()), os.getpid()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what modules print is for people
    registry = Registry()

    def expire(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"{seconds:g}")

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        registry.serve(modules)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if os.getpid() != own_pid:
            os._exit(os.EX_OK)  # a module has forked, and this is the copy: what there is is told once
        told = pb.AgentHello(tasks=registry.offers()).SerializeToString()
    except CannotServe as error:
        sys.stderr.write(f"error: {error}\n")
        _leave(os.EX_UNAVAILABLE)
    with open(answer, "wb") as file:
        file.write(told)
    _leave(os.EX_OK)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that a module has started must not keep the process


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
