"""What Prefect 3 has and this release has not, so that programs hear it by name.

Invariant: nothing that is listed here is accepted silently: an import, an option or a method that this
release cannot honour is refused where it is written.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

_DEPLOY: Final = "deployments and schedules are; start the program itself, from cron or a service manager"
_PAUSE: Final = "pausing, suspending and resuming runs is; a run can be cancelled"
_TRANSACTIONS: Final = "transactions are; use retries, and cache policies for what must not be done twice"
_RESULTS: Final = "result storage of your own is; results are kept by the control plane"
_CLIENT: Final = (
    "the orchestration client is; see taskyard.flow_runs and taskyard.task_runs, 'taskyard run --help', or"
    " the gRPC services in protos/"
)
_BLOCKS: Final = "blocks and variables are; use environment variables or files of your own"
_EVENTS: Final = "events and automations are; use hooks such as on_completion and on_failure"
_LIMITS: Final = "concurrency limits are; the slots of an agent, and a queue of its own, limit how much runs"
_ASSETS: Final = "assets are; return what was made, or where it is"
_GRAPHS: Final = "drawing a flow is; see 'taskyard run show' for the dependencies of a run"
_WORKERS: Final = (
    "serving a task from a program is; start agents with 'taskyard agent start', they run all tasks, and with"
    " --serve those of a module by their names"
)
_SERIALIZERS: Final = "serializers of your own are; see result_encoding, which is 'pickle', 'json' or 'bytes'"
_RECORDS: Final = "making a run without executing it is; use submit or delay"

_IMPORTS: Final = {
    **dict.fromkeys(["serve", "aserve", "deploy", "deployments", "runner", "schedules"], _DEPLOY),
    **dict.fromkeys([f"{verb}_flow_run" for verb in ("pause", "resume", "suspend")], _PAUSE),
    **dict.fromkeys([f"a{verb}_flow_run" for verb in ("pause", "resume", "suspend")], _PAUSE),
    **dict.fromkeys(["transaction", "transactions", "Transaction"], _TRANSACTIONS),
    **dict.fromkeys(["results", "filesystems", "serializers"], _RESULTS),
    **dict.fromkeys(["get_client", "client", "server"], _CLIENT),
    **dict.fromkeys(["blocks", "variables"], _BLOCKS),
    **dict.fromkeys(["events", "automations"], _EVENTS),
    **dict.fromkeys(["artifacts", "assets"], _ASSETS),
    **dict.fromkeys(["task_worker"], _WORKERS),
    "concurrency": _LIMITS,
    "input": _PAUSE,
}
_METHODS: Final = {
    **dict.fromkeys(["deploy", "to_deployment", "from_source"], _DEPLOY),
    **dict.fromkeys(["serve", "aserve"], _WORKERS),
    **dict.fromkeys(["on_commit", "on_rollback"], _TRANSACTIONS),
    **dict.fromkeys(["create_run", "create_local_run"], _RECORDS),
    "visualize": _GRAPHS,
}
_OPTIONS: Final = {
    **dict.fromkeys(["result_storage", "cache_result_in_memory"], _RESULTS),
    "result_serializer": _SERIALIZERS,
    **dict.fromkeys(["on_commit", "on_rollback"], _TRANSACTIONS),
    "asset_deps": _ASSETS,
}


def absent_method(kind: str, name: str) -> str:
    """Say that a task, or a flow, has no such attribute, and why if that is known.

    Args:
        kind: "task" or "flow".
        name: The attribute.
    """
    why = _DEPLOY if (kind, name) == ("flow", "serve") else _METHODS.get(name)
    return f"a {kind} has no attribute '{name}'" + (f": {_sentence(why)}" if why else "")


def refuse_unknown_options(subject: str, given: dict[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the options without those that are absent and None anyway.

    Args:
        subject: Whose options they are, for the message.
        given: Options by name.
        known: Names that exist.

    Raises:
        TypeError: There is no such option in this release.
    """
    if given.keys() <= set(known):
        return given
    for name, value in given.items():
        if name in known or (name in _OPTIONS and value is None):
            continue
        raise TypeError(f"{subject} cannot have the option '{name}': {_why_not(name, known)}")
    return {name: value for name, value in given.items() if name in known}


def _why_not(name: str, known: Sequence[str]) -> str:
    if name in _OPTIONS:
        return _sentence(_OPTIONS[name])
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return "there is none of that name; " + (
        f"did you mean '{close[0]}'?" if close else f"the options are {', '.join(sorted(known))}"
    )


def _sentence(why: str) -> str:
    """Complete one of the reasons above: what is absent, and what to do instead."""
    what, _, instead = why.partition("; ")
    return f"{what} not in this release; {instead}"


class AbsentModules:
    """A finder, asked last, that explains why a module of Prefect's cannot be imported from here.

    ``from taskyard import serve`` comes this way too: a name that a package lacks may be a module.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Find nothing, and say so in words where that is known to be wanted.

        Raises:
            ModuleNotFoundError: It is one of the modules, or names, that this release has not.
        """
        package, _, rest = name.partition(".")
        if package == "taskyard" and rest in _IMPORTS:
            raise ModuleNotFoundError(f"cannot import '{name}': {_sentence(_IMPORTS[rest])}")
