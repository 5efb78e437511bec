"""Prints what became of runs of another program, given as JSON of labels and ids, and computes with them."""

import json
import sys
from typing import Any
from uuid import UUID

from taskyard import allow_failure, task
from taskyard_contract import references


@task
def describe(value: Any) -> str:
    return f"{type(value).__name__} {value}"[:200]


class ResultOf:
    """What becomes a run's result among the arguments of a task, as the future of the run would."""

    def __init__(self, run_id: str) -> None:
        self.run_id = UUID(run_id).bytes

    def __reduce__(self) -> Any:
        references.note(self.run_id)
        return references.resolve, (self.run_id,)


def main(ids: dict[str, str]) -> None:
    """Pass each run's outcome to a task."""
    described = {label: describe.delay(allow_failure(ResultOf(run_id))) for label, run_id in ids.items()}
    print(json.dumps({label: future.result() for label, future in described.items()}))


main(json.loads(sys.argv[1]))
