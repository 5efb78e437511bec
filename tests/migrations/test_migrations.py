"""The migrations give exactly the tables of `schema.py`, and a store only opens what it understands."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError
from support.postgres import PostgresServer
from support.storage_rows import bad_ends, bad_ends_of

from taskyard_api.v1.common_pb2 import BlobRef, Payload
from taskyard_api.v1.session_service_pb2 import RunOutcome
from taskyard_api.v1.template_pb2 import RunTemplate
from taskyard_contract.states import RunState
from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.errors import DatabaseInUse, SchemaNotUnderstood
from taskyard_controlplane.storage.interface import RunFilter
from taskyard_controlplane.storage.postgres import lease
from taskyard_controlplane.storage.schema import REVISION, metadata
from taskyard_controlplane.storage.upgrade import MIGRATIONS, prepare_schema, recorded_revision

SINCE: Final = {10: 100, 11: 101, 12: 102, 13: 103, 14: 104}
"""Final states since 0006, by what they were before."""
_NOT_NULL = re.compile(r"^\w+_not_null\d*$")
_KEY_NAME = re.compile(r"CONSTRAINT pk_\w+ PRIMARY")
_LINES: Final = re.compile(r"\n|, (?=[a-z_]+ [A-Z]+,)")
"""What is between the lines of a table: a column that was added later is in the line of the one before it."""
_POSTGRES_TABLES = """
SELECT table_name, column_name, data_type, is_nullable, column_default, ordinal_position
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 6
"""
_POSTGRES_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""
_POSTGRES_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
_POSTGRES_OPTIONS = """
SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two databases without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database(empty=True) as one, postgres.database(empty=True) as two:
        yield one, two


def _engine(url: str) -> Engine:
    return writer_engine(parse_url(url))


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _description(connection: Connection) -> object:
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' ORDER BY name"
        return {
            # SQLite puts a renamed table into quotes, and leaves its key the name it had.
            name: sorted(
                _KEY_NAME.sub("PRIMARY", line).replace('"', "").strip(" ,\t")
                for line in _LINES.split((sql or "").rstrip())
            )
            for name, sql in connection.execute(text(query))
            if "alembic" not in name
        }
    queries = (_POSTGRES_TABLES, _POSTGRES_CONSTRAINTS, _POSTGRES_INDEXES, _POSTGRES_OPTIONS)
    # PostgreSQL 18 has NOT NULL as constraints, which keep the name of the table that they were made for.
    answers = [connection.execute(text(query)).all() for query in queries]
    return [sorted([tuple(_NOT_NULL.sub("", str(it)) for it in row) for row in rows]) for rows in answers]


def test_the_migrations_give_the_tables_of_the_schema(urls: tuple[str, str]) -> None:
    directly, migrated = map(_engine, urls)
    with directly.begin() as connection:
        prepare_schema(connection, "directly")
        expected = _description(connection)
    with migrated.begin() as connection:
        command.upgrade(_config(connection), "head")
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert _description(connection) == expected
    directly.dispose()
    migrated.dispose()


def test_going_back_leaves_nothing(urls: tuple[str, str]) -> None:
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
        command.downgrade(_config(connection), "base")
        left = MigrationContext.configure(connection)
        tables = [difference[0] for difference in compare_metadata(left, metadata)]
        assert tables.count("add_table") == len(metadata.tables)
    engine.dispose()


def test_the_newest_revision_is_known_without_alembic() -> None:
    script = ScriptDirectory.from_config(_config())
    assert script.get_heads() == [REVISION]


def test_a_database_made_by_migrations_can_be_opened(urls: tuple[str, str]) -> None:
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
    engine.dispose()
    with closing(create_store(urls[0])) as store:
        assert store.open().generation == 1


def test_a_database_of_an_older_release_is_upgraded(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest there can be: alembic has been there, and no revision has been applied beyond the first."""
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
        connection.execute(text("INSERT INTO code_blob (digest, size) VALUES (:digest, 5)"), {"digest": b"d"})
    engine.dispose()
    monkeypatch.setattr("taskyard_controlplane.storage.upgrade.REVISION", "9999")
    with closing(create_store(urls[0])) as store:
        assert store.open().generation == 1
    engine = _engine(urls[0])
    with engine.begin() as connection:
        assert connection.execute(text("SELECT size FROM code_blob")).scalar() == 5
    engine.dispose()


def test_a_database_of_the_first_release_is_upgraded_with_all_it_holds(urls: tuple[str, str]) -> None:
    """Its runs keep their callers, whose column has another name now, and can be gone on with."""
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO run (seq, run_id, kind, state, template_id, ordinal, submitted_us, parent_id, "
                "args) VALUES (:seq, :run_id, 1, 2, 1, 0, 5, :caller, :args)"
            ),
            [
                {"seq": 1, "run_id": b"1" * 16, "caller": b"c" * 16, "args": b"x"},
                {"seq": 2, "run_id": b"2" * 16, "caller": None, "args": None},
            ],
        )
    engine.dispose()
    with closing(create_store(urls[0])) as store:
        assert store.open().next_seq == 3
        rows = [(row.seq, row.caller_id, row.args) for row in store.open_runs(1)]
        assert rows == [(1, b"c" * 16, b"x"), (2, None, None)]
        assert store.documents.page("any kind") == []
        stored = store.documents.put("any kind", "name", 0, b"body", 5)
        assert store.documents.page("any kind") == [stored]


def test_an_upgrade_finds_what_ended_badly_before(urls: tuple[str, str]) -> None:
    """Listings of one state see the runs of earlier releases, newest first, and those of a flow run."""
    engine = _engine(urls[0])
    states = {1: 2, 2: 10, 3: 11, 4: 13, 5: 11, 6: 12, 7: 14, 8: 10, 9: 11}
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0004")
        connection.execute(text("INSERT INTO template VALUES (1, :digest, :digest, 'add')"), {"digest": b""})
        connection.execute(
            text(
                "INSERT INTO run (seq, run_id, kind, state, template_id, ordinal, submitted_us, flow_seq) "
                "VALUES (:seq, :run_id, :kind, :state, 1, 0, 5, :flow)"
            ),
            [
                {
                    "seq": seq,
                    "run_id": bytes([seq]) * 16,
                    "kind": 2 if seq == 3 else 1,
                    "state": state,
                    "flow": 3 if seq == 5 else None,
                }
                for seq, state in states.items()
            ],
        )
    engine.dispose()
    with closing(create_store(urls[0])) as store:
        store.open()
        with closing(create_reader(urls[0])) as reader:
            assert bad_ends(reader, 2) == bad_ends_of(
                (seq, SINCE.get(state, state)) for seq, state in states.items()
            )
            wanted = RunFilter(states=(RunState.FAILED,))
            flows = reader.runs(wanted._replace(kind=2), None, 9).runs
            inside = reader.runs(wanted._replace(flow_seq=3), None, 9).runs
            assert [listed.run.seq for listed in [*flows, *inside]] == [3, 5]


def _former_runs(outcomes: dict[int, RunOutcome]) -> list[dict[str, object]]:
    """Return rows of runs as releases before 0006 wrote them, with outcomes and arguments that are a blob."""
    blob = BlobRef(digest=b"d" * 32, size=2**40)
    return [
        {
            "seq": seq,
            "run_id": outcome.run_id,
            "state": int(outcome.state),
            "outcome": outcome.SerializeToString(),
            "args_blob": blob.SerializeToString(),
        }
        for seq, outcome in outcomes.items()
    ]


def test_an_upgrade_numbers_final_states_anew_wherever_they_are(urls: tuple[str, str]) -> None:
    """In the column, in the history, and in the outcome, of which all other bytes stay; and back."""
    outcomes = {
        seq: RunOutcome(
            run_id=bytes([seq]) * 16, state=state, message="\0 é", result=Payload(data=bytes(range(256)))
        )
        for seq, state in enumerate(SINCE, 1)
    }  # fmt: skip
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0005")
        connection.execute(
            text(
                "INSERT INTO run"
                " (seq, run_id, kind, state, template_id, ordinal, submitted_us, outcome, args_blob)"
                " VALUES (:seq, :run_id, 1, :state, 1, 0, 5, :outcome, :args_blob)"
            ),
            _former_runs(outcomes),
        )
        connection.execute(
            text(
                "INSERT INTO run_event (run_seq, at_us, state, reason, attempt, infra_retries, epoch)"
                " VALUES (:seq, 5, :state, 0, 1, 0, 0)"
            ),
            [{"seq": seq, "state": state} for seq, state in enumerate([5, *SINCE], 1)],
        )
        before = connection.execute(text("SELECT * FROM run ORDER BY seq")).all()
        command.upgrade(_config(connection), "head")
        rows = connection.execute(text("SELECT state, outcome, args_blob FROM run ORDER BY seq")).all()
        history = connection.execute(text("SELECT state FROM run_event ORDER BY run_seq")).scalars().all()
        assert history == [5, *SINCE.values()]
        assert [row.state for row in rows] == list(SINCE.values())
        for row, former in zip(rows, outcomes.values(), strict=True):
            wanted = RunOutcome.FromString(former.SerializeToString())
            wanted.state = SINCE[former.state]  # type: ignore[assignment]
            assert bytes(row.outcome) == wanted.SerializeToString()
            assert Payload.FromString(bytes(row.args_blob)) == Payload(
                blob=BlobRef(digest=b"d" * 32, size=2**40)
            )
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE run SET state = 11 WHERE seq = 1"))
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0005")
        assert connection.execute(text("SELECT * FROM run ORDER BY seq")).all() == before
    engine.dispose()


def test_a_downgrade_finds_the_blob_beside_an_encoding(urls: tuple[str, str]) -> None:
    """Arguments recorded since then name their encoding first."""
    blob = BlobRef(digest=b"d" * 32, size=2**40)
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
        connection.execute(
            text(
                "INSERT INTO run (seq, run_id, kind, state, template_id, ordinal, submitted_us, args_blob)"
                " VALUES (1, :run_id, 1, 1, 1, 0, 5, :args)"
            ),
            {
                "run_id": b"r" * 16,
                "args": Payload(encoding="python/pickle5", blob=blob).SerializeToString(),
            },
        )
        command.downgrade(_config(connection), "0005")
        stored = connection.execute(text("SELECT args_blob FROM run")).scalar_one()
    engine.dispose()
    assert BlobRef.FromString(bytes(stored)) == blob


def test_an_upgrade_takes_very_many_templates(urls: tuple[str, str]) -> None:
    """No statement has a parameter for each of them."""
    definition = RunTemplate(name="t", encoding="json/plain").SerializeToString()
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0005")
        connection.execute(
            text("INSERT INTO template VALUES (:number, :digest, :definition, 't')"),
            [
                {"number": number, "digest": number.to_bytes(4), "definition": definition}
                for number in range(1, 70_001)
            ],
        )
        command.upgrade(_config(connection), "head")
        assert recorded_revision(connection) == REVISION
    engine.dispose()


def test_an_upgrade_labels_results_in_other_encodings(urls: tuple[str, str]) -> None:
    """Bare bytes are pickles since then, and what another language wrote must not be read as one."""
    definitions = {1: "python/pickle5", 2: "json/plain", 3: ""}
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0005")
        for number, encoding in definitions.items():
            template = RunTemplate(name="t", encoding=encoding).SerializeToString()
            connection.execute(
                text("INSERT INTO template VALUES (:number, :digest, :definition, 't')"),
                {"number": number, "digest": bytes([number]), "definition": template},
            )
            connection.execute(
                text(
                    "INSERT INTO run"
                    " (seq, run_id, kind, state, template_id, ordinal, submitted_us, ended_us, result)"
                    " VALUES (:seq, :run_id, 1, 10, :seq, 0, 5, 7, :result)"
                ),
                {"seq": number, "run_id": bytes([number]) * 16, "result": b"[1]"},
            )
        command.upgrade(_config(connection), "head")
        rows = connection.execute(text("SELECT result, outcome FROM run ORDER BY seq")).all()
    engine.dispose()
    assert (bytes(rows[0].result), rows[0].outcome) == (b"[1]", None)
    for row, number in zip(rows[1:], (2, 3), strict=True):
        assert row.result is None
        assert RunOutcome.FromString(bytes(row.outcome)) == RunOutcome(
            run_id=bytes([number]) * 16,
            state=RunState.COMPLETED.value,  # type: ignore[arg-type]
            ended_us=7,
            result=Payload(encoding=definitions[number], data=b"[1]"),
        )


def test_an_upgrade_that_is_interrupted_halfway_has_changed_nothing(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The column is renamed when the table cannot be made: both or neither, and the next attempt succeeds."""

    def interrupted(*_: object, **__: object) -> None:
        raise RuntimeError("interrupted halfway")

    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
        before = _description(connection)
    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", interrupted)
        with closing(create_store(urls[0])) as store, pytest.raises(RuntimeError, match="halfway"):
            store.open()
    with engine.begin() as connection:
        assert recorded_revision(connection) == "0001"
        assert _description(connection) == before
    engine.dispose()
    with closing(create_store(urls[0])) as store:
        assert store.open().generation == 1


def test_an_upgrade_rewrites_no_run(urls: tuple[str, str]) -> None:
    """A table of many millions of rows must not be copied: the rows stay on the pages they are on."""
    engine = _engine(urls[0])
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
        before = _place_of_runs(connection)
        command.upgrade(_config(connection), "head")
        assert _place_of_runs(connection) == before
    engine.dispose()


def _place_of_runs(connection: Connection) -> object:
    """Return where the table of runs begins in the database's files."""
    if connection.dialect.name == "sqlite":
        return connection.execute(text("SELECT rootpage FROM sqlite_master WHERE name = 'run'")).scalar()
    return connection.execute(text("SELECT pg_relation_filenode('run')")).scalar()


def test_nothing_changes_under_an_owner_that_is_alive(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be of a release that needs the schema as it is; the upgrade waits until it has been replaced."""
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.3)
    with postgres.database() as url, closing(create_store(url)) as owner:
        owner.open()
        engine = _engine(url)
        with engine.begin() as connection:
            command.downgrade(_config(connection), "0001")
        with closing(create_store(url)) as newcomer, pytest.raises(DatabaseInUse):
            newcomer.open()
        with engine.begin() as connection:
            assert recorded_revision(connection) == "0001"
        owner.close()
        with closing(create_store(url)) as successor:
            assert successor.open().generation == 2
        with engine.begin() as connection:
            assert recorded_revision(connection) == REVISION
        engine.dispose()


def test_a_database_from_the_future_is_refused_untouched(urls: tuple[str, str]) -> None:
    with closing(create_store(urls[0])) as store:
        store.open()
    engine = _engine(urls[0])
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
        before = _description(connection)
    with (
        closing(create_store(urls[0])) as store,
        pytest.raises(SchemaNotUnderstood, match=rf"7777.*{REVISION}"),
    ):
        store.open()
    with engine.begin() as connection:
        assert _description(connection) == before
        assert connection.execute(text("SELECT generation FROM shard_owner")).scalar() == 1
    engine.dispose()


def test_a_database_of_something_else_is_refused(urls: tuple[str, str]) -> None:
    engine = _engine(urls[0])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE run (id INTEGER PRIMARY KEY)"))
    engine.dispose()
    with (
        closing(create_store(urls[0])) as store,
        pytest.raises(SchemaNotUnderstood, match="of something else"),
    ):
        store.open()
