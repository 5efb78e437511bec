"""The larger examples with everything around them killed, themselves included: the result is the same."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.programs import Program, Stage, eventually

ENTRIES = "select transfer, count(*), sum(cents) from entries group by 1"
EXAMPLES = Path(__file__).parents[2] / "examples"
ETL, TRANSFERS = EXAMPLES / "etl" / "main.py", EXAMPLES / "transfers" / "main.py"
PAGES, ROWS = 120, 40
TRANSFERS_MADE = 60

pytestmark = pytest.mark.slow


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query; none as long as there is no table."""
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def begin_import(stage: Stage, database: Path) -> Program:
    """Start an import, and wait until a part of it is there."""
    arguments = ["--pages", str(PAGES), "--rows", str(ROWS), "--database", str(database)]
    program = stage.start_file(ETL, *arguments)
    eventually(lambda: len(pages_of(database)) >= PAGES // 6, "a part is there")
    assert program.process.poll() is None, "it is over before anything could happen"
    return program


def pages_of(database: Path) -> list[tuple[object, ...]]:
    return rows(database, "select distinct page from orders")


def require_all(database: Path) -> None:
    """Every order is there, and every row that is none."""
    found = [number for (number,) in rows(database, "select id from orders order by id")]
    assert found == [number for number in range(PAGES * ROWS) if number % 37]
    wrong = [number for (number,) in rows(database, f"select page * {ROWS} + line from rejected order by 1")]
    assert wrong == list(range(0, PAGES * ROWS, 37))


def test_etl_goes_on_over_the_death_of_the_server(stage: Stage, tmp_path: Path):
    state = ("--database", f"sqlite:///{stage.home / 'state.db'}")
    server = stage.serve(*state)
    stage.work("--slots", "2")
    program = begin_import(stage, tmp_path / "orders.db")
    server.end(signal.SIGKILL)
    stage.serve(*state, listen=stage.environment["TASKYARD_SERVER"])
    assert program.wait(60) == 0, program.log
    require_all(tmp_path / "orders.db")
    assert "Traceback" not in program.log


def test_etl_goes_on_over_the_death_of_its_agent(stage: Stage, tmp_path: Path):
    stage.serve("--agent-lease", "2")
    agent = stage.work("--slots", "2", "--name", "first")
    program = begin_import(stage, tmp_path / "orders.db")
    agent.end(signal.SIGKILL)
    stage.work("--slots", "2", "--name", "second")
    assert program.wait(60) == 0, program.log
    require_all(tmp_path / "orders.db")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_etl_is_run_again_after_its_own_end(stage: Stage, tmp_path: Path, end: signal.Signals):
    program = begin_import(stage, tmp_path / "orders.db")
    assert program.end(end) != 0
    assert len(pages_of(tmp_path / "orders.db")) < PAGES
    again = stage.run_file(
        ETL, "--pages", str(PAGES), "--rows", str(ROWS), "--database", str(tmp_path / "orders.db")
    )
    assert again.returncode == 0, again.stderr
    require_all(tmp_path / "orders.db")


class Bank:
    """Programs that make the same transfers in the same books."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        self.arguments = ("--transfers", str(TRANSFERS_MADE), "--folder", str(folder))

    def start(self) -> Program:
        return self.stage.start_file(TRANSFERS, *self.arguments)

    def made(self) -> int:
        return len(list(self.folder.glob("made/*")))

    def finish(self) -> str:
        done = self.stage.run_file(TRANSFERS, *self.arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def require_right(self) -> None:
        """Whoever was to be paid was, once; nobody else was."""
        made = {f"transfer-{number}" for number in range(TRANSFERS_MADE) if number % 3 != 1}
        entries = rows(self.folder / "books.db", ENTRIES)
        assert {(transfer, 2, 0) for transfer in made} == set(entries)
        assert {path.stem for path in (self.folder / "receipts").iterdir()} == made


@pytest.fixture
def bank(stage: Stage, tmp_path: Path) -> Bank:
    """Books that are empty."""
    return Bank(stage, tmp_path / "books")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_transfers_are_finished_after_the_end_of_their_program(bank: Bank, end: signal.Signals):
    for number in (2, 7, 15):
        program = bank.start()
        eventually(lambda: bank.made() >= number, "some are made")  # noqa: B023 - called at once
        assert program.end(end) != 0
    assert f"{TRANSFERS_MADE * 2 // 3} transfers made" in bank.finish()
    bank.require_right()


def test_transfers_of_two_programs_at_once_are_made_once(bank: Bank):
    programs = [bank.start(), bank.start()]
    assert [program.wait(60) for program in programs] == [0, 0]
    logs = [program.log for program in programs]
    before = [log.count("was made before") for log in logs]
    assert sum(before) == TRANSFERS_MADE * 2 // 3  # each by one of them
    bank.require_right()
