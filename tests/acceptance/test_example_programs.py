"""The larger examples: what they find is right, with tasks in agents and in threads."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.programs import Stage
from support.programs import stage as open_stage

ENTRIES = "select transfer, count(*), sum(cents) from entries group by 1"
EXAMPLES = Path(__file__).parents[2] / "examples"
COUNTED = re.compile(r"(\d+) were read now, (\d+) came from the cache")


@pytest.fixture(scope="module", params=["agents", "threads"])
def yard(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Nothing is running and nothing configured, except for who executes tasks."""
    with open_stage() as opened:
        opened.environment["TASKYARD_TASK_RUNNER"] = request.param
        yield opened


def printed(stage: Stage, folder: Path, *command: str, code: int = 0) -> str:
    """Run an example in a folder; return what it prints."""
    done = stage.run_python(folder, *command)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_examples_run_on_an_agent_that_has_none_of_their_files(stage: Stage, tmp_path: Path):
    stage.serve()
    home = tmp_path / "elsewhere"
    home.mkdir()
    stage.work_elsewhere(home, "--slots", "2")
    assert "all        1,800 sales" in printed(stage, EXAMPLES, "-m", "regions", code=1)
    imported = printed(stage, EXAMPLES / "etl", "-m", "main", "--database", f"{tmp_path}/orders.db")
    assert "972 orders of " in imported
    found = printed(stage, tmp_path, str(EXAMPLES / "ml_batch" / "main.py"))
    assert float(found.split()[-1]) == pytest.approx(0.956, abs=0.001)


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_etl_has_every_order_once_and_every_wrong_row_beside(yard: Stage, tmp_path: Path):
    command = [str(EXAMPLES / "etl" / "main.py"), "--pages", "12", "--rows", "40"]
    first = printed(yard, tmp_path, *command)
    assert "467 orders of " in first
    assert "0 pages missing" in first
    right = {number for number in range(480) if number % 37}
    assert {number for (number,) in rows(tmp_path / "orders.db", "select id from orders")} == right
    wrong = rows(tmp_path / "orders.db", "select page * 40 + line, content from rejected order by 1")
    assert [number for number, _ in wrong] == list(range(0, 480, 37))
    assert [json.loads(str(content))["id"] for _, content in wrong] == list(range(0, 480, 37))
    assert printed(yard, tmp_path, *command) == first  # a second time it replaces all of it


def test_scraper_reads_each_page_once_and_then_none(yard: Stage, tmp_path: Path):
    command = [str(EXAMPLES / "scraper" / "main.py"), "--pages", "40", "--port", "0", "--output", "found"]
    first = printed(yard, tmp_path, *command)
    pages = [json.loads(line) for line in (tmp_path / "found").read_text().splitlines()]
    assert sorted(int(page["title"].removeprefix("Page ")) for page in pages) == list(range(40))
    assert len({page["url"] for page in pages}) == 40
    assert COUNTED.search(first).groups() == ("40", "0")
    assert "2 dead links: " in first
    assert not any("/private/" in page["url"] for page in pages)


def test_scraper_takes_from_the_cache_what_it_has_read(yard: Stage, tmp_path: Path):
    site = yard.start_file(EXAMPLES / "scraper" / "site_for_demo.py")
    command = [str(EXAMPLES / "scraper" / "main.py"), "--url", site.line()]
    some = printed(yard, tmp_path, *command, "--limit", "10")
    assert COUNTED.search(some).groups() == ("10", "0")
    everything = printed(yard, tmp_path, *command)
    assert COUNTED.search(everything).groups() == ("50", "10")
    assert COUNTED.search(printed(yard, tmp_path, *command)).groups() == ("0", "60")


def test_ml_batch_finds_the_same_model_everywhere(yard: Stage, tmp_path: Path):
    found = printed(yard, tmp_path, str(EXAMPLES / "ml_batch" / "main.py"), "--rows", "4000")
    assert "6 shards, 37 MB of rows" in found
    # Other processors add up in another order; a row on the border may then fall on its other side.
    right = [int(number) for number in re.findall(r"shard \d: ([\d]+) of 4000 right", found.replace(",", ""))]
    assert right == [pytest.approx(3818, abs=3), pytest.approx(3829, abs=3)]


def test_regions_reports_without_the_one_that_fails(yard: Stage, tmp_path: Path):
    report = printed(yard, EXAMPLES, "-m", "regions", code=1)
    found = re.findall(r"^(\w+) +([\d,]+) sales +([\d,.]+) EUR", report, re.MULTILINE)
    assert found == [
        ("north", "600", "5,593.03"),
        ("east", "600", "62,991.00"),
        ("west", "600", "73,669.05"),
        ("all", "1,800", "142,253.08"),
    ]
    assert "south    missing: south.csv: amount is 'n/a'" in report
    runs = yard.document("run", "ls", "--kind", "flow", "--limit", "5")
    states = {run["name"]: run["state"] for run in runs if run["name"].startswith("report of")}
    assert states == {
        "report of north": "COMPLETED", "report of east": "COMPLETED", "report of west": "COMPLETED",
        "report of south": "FAILED",
    }  # fmt: skip


def test_crawler_finds_all_that_answers_and_says_what_does_not(yard: Stage, tmp_path: Path):
    command = [str(EXAMPLES / "crawler" / "main.py"), "--packages", "80", "--patience", "5"]
    found = printed(yard, tmp_path, *command)
    assert "package-0 needs 74 packages, " in found
    assert "2 unknown (500 Internal Server Error): package-22, package-68" in found
    assert "2 unknown (took too long): package-30, package-61" in found


def test_transfers_are_made_once_and_all_the_way(yard: Stage, tmp_path: Path):
    command = [str(EXAMPLES / "transfers" / "main.py"), "--transfers", "5"]
    first = printed(yard, tmp_path, *command)
    assert "3 transfers made, 3 receipts, 2 refused" in first
    entries = rows(tmp_path / "books" / "books.db", ENTRIES)
    assert entries == [(f"transfer-{number}", 2, 0) for number in (0, 2, 3)]
    receipts = {path.stem for path in (tmp_path / "books" / "receipts").iterdir()}
    assert receipts == {f"transfer-{number}" for number in (0, 2, 3)}
    assert printed(yard, tmp_path, *command) == first
