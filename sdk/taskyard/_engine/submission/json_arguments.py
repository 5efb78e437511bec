"""Arguments of calls written as JSON, in the form that `taskyard_contract.languages.json_values` describes.

The counterpart of pickling them: futures and states, at any depth, become references and upstream edges, and
annotations mean the same.
"""

from typing import Any

from taskyard._data.runs.state import is_state
from taskyard._data.values.awaited import AwaitedRun
from taskyard._engine.futures.in_values import futures_in, replaced
from taskyard._network.session.run_groups import Upstream
from taskyard.exceptions import NotSerializable
from taskyard.utilities.annotations import Annotation, opaque, quote
from taskyard_contract.languages.json_values import NotJson, Reference, dumps_arguments
from taskyard_contract.states import UpstreamKind


def pack_json(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], upstream: Upstream) -> bytes:
    """Write the arguments of a call of task `name`; its upstream runs are added to `upstream`.

    Raises:
        NotSerializable: An argument has no form in JSON; says which part of it.
    """

    def refer(run_id: bytes, kind: int = UpstreamKind.DATA) -> Reference:
        # The weakest demand wins, as with arguments that are pickled.
        if upstream.get(run_id) != UpstreamKind.DATA_OR_FAILURE:
            upstream[run_id] = kind
        return Reference(run_id)

    def replace(part: Any) -> Any:
        if isinstance(part, AwaitedRun):
            return refer(part.run_id)
        if is_state(part):
            run_id = part.state_details.task_run_id
            return refer(run_id.bytes) if run_id is not None else part.result()
        if isinstance(part, Annotation):
            _refuse_followed(part)
            return replaced(part, lambda future, kind: refer(future.run_id, kind))
        return part

    try:
        return dumps_arguments(args, kwargs, replace)
    except NotJson as error:
        raise NotSerializable(
            f"cannot submit '{name}', whose arguments travel as JSON: {error.path}: {error.why}"
        ) from None


def _refuse_followed(part: Annotation[Any]) -> None:
    """Refuse futures in a value of which the user says that nothing inside is to be followed."""
    followed = isinstance(part, opaque) and isinstance(part.value, AwaitedRun)
    if isinstance(part, quote) and not followed and futures_in(part.value):
        raise NotJson(f"the value in {type(part).__name__}() holds futures; pass their results")
