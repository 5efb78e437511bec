"""Final states are numbered from 100, so that there is room for open ones.

The one migration that rewrites runs: each that has ended, once, in place. A number is in three places: in the
column of the run, in the history, and in the outcome of a run that is more than a bare result. An outcome
begins with the run's id and its state, each of a fixed length, so its number is one byte at a known place.

Arguments that are a blob become a payload, of which the blob is a part, as whatever else is no bare value.
And results in another encoding than the usual one, which clients without the SDK may have, are bare no more.
"""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op
from google.protobuf.message import DecodeError

from taskyard_api.v1.common_pb2 import BlobRef, Payload
from taskyard_api.v1.session_service_pb2 import RunOutcome
from taskyard_api.v1.template_pb2 import RunTemplate

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

_BEFORE = "state BETWEEN 1 AND 7 OR state BETWEEN 10 AND 14"
_SINCE = "state BETWEEN 1 AND 7 OR state BETWEEN 100 AND 104"
_SHIFT = 90
_FORMER = range(10, 15)
_CHECKED = ("run", "run_event")
# Of a serialised `RunOutcome`: its field 1, sixteen bytes, then its field 2, a number of one byte.
_OUTCOME = "substr(outcome, 1, 2) = {} AND substr(outcome, 19, 1) = {}"
_PAGE = 1_000
_BARE = "python/pickle5"


def upgrade() -> None:
    """Apply."""
    _renumber(_BEFORE, _SINCE, list(_FORMER), _SHIFT)
    _rewrite_args(lambda blob: Payload(blob=BlobRef.FromString(blob)).SerializeToString())
    _label_results()


def downgrade() -> None:
    """Undo."""
    _rewrite_args(lambda payload: Payload.FromString(payload).blob.SerializeToString())
    # Labelled results were understood before, too.
    _renumber(_SINCE, _BEFORE, [state + _SHIFT for state in _FORMER], -_SHIFT)


def _renumber(before: str, since: str, states: list[int], shift: int) -> None:
    finals = f"state BETWEEN {states[0]} AND {states[-1]}"
    sqlite = op.get_context().dialect.name == "sqlite"
    if sqlite:
        _replace_checks(before, since)
    else:
        for table in _CHECKED:
            op.drop_constraint(op.f(f"ck_{table}_state"), table)
    op.execute(
        f"UPDATE run SET outcome = {_renumbered(sqlite, states, shift)} WHERE {finals} AND {_has(sqlite)}"
    )
    for table in (*_CHECKED, "ended_badly"):
        op.execute(f"UPDATE {table} SET state = state + ({shift}) WHERE {finals}")
    if not sqlite:
        for table in _CHECKED:
            op.create_check_constraint(op.f(f"ck_{table}_state"), table, since)


def _has(sqlite: bool) -> str:
    """Say in SQL that a run has an outcome, which begins as outcomes do."""
    if sqlite:
        return "outcome IS NOT NULL AND " + _OUTCOME.format("x'0a10'", "x'10'")
    return "outcome IS NOT NULL AND " + _OUTCOME.format(r"'\x0a10'::bytea", r"'\x10'::bytea")


def _renumbered(sqlite: bool, states: list[int], shift: int) -> str:
    """Say in SQL what an outcome is with the other number in it."""
    if not sqlite:
        return f"set_byte(outcome, 19, get_byte(outcome, 19) + ({shift}))"
    cases = " ".join(f"WHEN x'{state:02x}' THEN x'{state + shift:02x}'" for state in states)
    number = f"CASE substr(outcome, 20, 1) {cases} ELSE substr(outcome, 20, 1) END"
    return f"CAST(substr(outcome, 1, 19) || {number} || substr(outcome, 21) AS BLOB)"


def _replace_checks(before: str, since: str) -> None:
    """Change a condition where SQLite keeps it: alembic would copy both tables."""
    bind = op.get_bind()
    version = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in _CHECKED:
        bind.execute(
            sa.text(
                "UPDATE sqlite_master SET sql = replace(sql, :before, :since)"
                " WHERE type = 'table' AND name = :name"
            ),
            {"before": before, "since": since, "name": table},
        )
    bind.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = RESET")


def _label_results() -> None:
    """Say of results which encoding they are in, unless it is the one of bare results."""
    bind, last = op.get_bind(), -1
    encodings = {
        row.template_id: _encoding_in(bytes(row.definition))
        for row in bind.execute(sa.text("SELECT template_id, definition FROM template"))
    }
    others = [number for number, encoding in encodings.items() if encoding != _BARE]
    if not others:
        return
    # One parameter, however many there are: no database takes one for each of very many.
    sqlite = op.get_context().dialect.name == "sqlite"
    among = "IN (SELECT value FROM json_each(:others))" if sqlite else "= ANY(CAST(:others AS bigint[]))"
    page = sa.text(
        "SELECT seq, run_id, template_id, ended_us, result FROM run WHERE result IS NOT NULL AND seq > :last"
        f" AND template_id {among} ORDER BY seq LIMIT :page"
    ).bindparams(others=str(others) if sqlite else others)
    change = sa.text("UPDATE run SET result = NULL, outcome = :outcome WHERE seq = :seq")
    while rows := bind.execute(page, {"last": last, "page": _PAGE}).all():
        last = rows[-1].seq
        bind.execute(
            change, [{"seq": row.seq, "outcome": _outcome(row, encodings[row.template_id])} for row in rows]
        )


def _encoding_in(definition: bytes) -> str:
    try:
        return str(RunTemplate.FromString(definition).encoding)
    except DecodeError:
        return ""


def _outcome(row: sa.Row[tuple[int, bytes, int, int, bytes]], encoding: str) -> bytes:
    result = Payload(encoding=encoding, data=bytes(row.result))
    return RunOutcome(
        run_id=bytes(row.run_id),
        state=_SHIFT + _FORMER[0],  # type: ignore[arg-type]  # completed: nothing else has a bare result
        ended_us=row.ended_us or 0,
        result=result,
    ).SerializeToString()


def _rewrite_args(rewritten: Callable[[bytes], bytes]) -> None:
    """Rewrite arguments that are a blob: few runs have such."""
    bind, last = op.get_bind(), -1
    page = sa.text(
        "SELECT seq, args_blob FROM run WHERE args_blob IS NOT NULL AND seq > :last ORDER BY seq LIMIT :page"
    )
    change = sa.text("UPDATE run SET args_blob = :args WHERE seq = :seq")
    while rows := bind.execute(page, {"last": last, "page": _PAGE}).all():
        last = rows[-1].seq
        bind.execute(change, [{"seq": row.seq, "args": rewritten(bytes(row.args_blob))} for row in rows])
