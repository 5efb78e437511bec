"""Records -> rows: the tuples that rows travel as, in the order their tables declare.

Each is written once here. Two loops that run for every run build theirs in place (`Submission._plain`,
`Reporting._chunk`), because a call for each would cost more than the tuple; a test holds them equal to these.
"""

from collections.abc import Sequence
from typing import Any

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.storage.interface import WriteBatch


def new_row(run: Run) -> tuple[object, ...]:
    """Return the `NewRunRow` of a run."""
    return (
        run.seq, run.run_id, run.template.kind, run.state,
        run.flow.seq if run.flow is not None else None, run.caller_id,
        run.session.session_id if run.session is not None else None,
        run.template.template_id, run.ordinal, run.name, run.args, run.args_blob,
        run.cache_key, run.upstream, run.submitted_us, run.headers,
    )  # fmt: skip


def ended_row(run: Run) -> tuple[object, ...]:
    """Return the `EndedRow` of a run."""
    return (
        run.state, run.reason, run.attempt, run.infra_retries, run.epoch,
        run.started_us, run.ended_us, run.result, run.outcome,
        run.last_agent.number if run.last_agent is not None else None, run.seq,
    )  # fmt: skip


def reopened_row(run: Run) -> tuple[object, ...]:
    """Return the `ReopenedRow` of a run that a session has taken over."""
    session_id = run.session.session_id if run.session is not None else None
    return run.state, run.reason, run.attempt, session_id, None, None, None, None, run.seq


def key_row(run: Run) -> tuple[object, ...]:
    """Return the `KeyRow` of a run whose worker has computed its key."""
    return run.cache_key, run.epoch, run.seq


def add_end(rows: WriteBatch, row: Sequence[Any]) -> None:
    """Put an `EndedRow` into a batch, and beside it what makes the run be found when it did not complete.

    Ends that are ordinary completions go into the batch without coming here, and cost nothing more.
    """
    rows.ended.append(tuple(row))
    if row[0] != RunState.COMPLETED:
        rows.ended_badly.append((row[-1],))


def cache_row(run: Run, now_us: int) -> tuple[str, int, int | None]:
    """Return the `CacheRow` of a run that computed its key.

    Its end is said by the clock of its worker, which may be ahead: a short life would be a longer one then.
    """
    lifetime = run.template.cache_expiration_us
    assert run.cache_key is not None
    return run.cache_key, run.seq, min(run.ended_us, now_us) + lifetime if lifetime else None


def event_row(
    run: Run, at_us: int, state: int, reason: int, attempt: int, due_us: int | None, name: str, message: str
) -> tuple[object, ...]:
    """Return an `EventRow` of a run."""
    return (
        run.seq, at_us, int(state), int(reason), attempt, run.infra_retries, run.epoch,
        due_us, name or None, message or None,
    )  # fmt: skip


def log_row(
    run: Run, flow_seq: int, at_us: int, level: int, logger: str, message: str, log_id: int
) -> tuple[object, ...]:
    """Return the `LogRow` of a record in the log of a run; `flow_seq` is the number of the flow run that it
    is in, 0 for none.
    """
    return run.seq, log_of(run, flow_seq), at_us, level, logger, message, log_id


def log_of(run: Run, flow_seq: int) -> int | None:
    """Return in the log of which flow run the records of a run are: that has its own, and those inside it."""
    return run.seq if run.template.kind == RunKind.FLOW else flow_seq or None
