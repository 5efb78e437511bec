"""The log of what was committed has everything that was, once, and nothing of what was taken back."""

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.storm import commit_log
from support.storage_rows import ended, event, new_run, template

from taskyard_contract.states import RunState
from taskyard_controlplane.storage import create_store
from taskyard_controlplane.storage.interface import Store, WriteBatch


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'taskyard.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    commit_log.install(url)
    store = create_store(url)
    store.open()
    yield store
    store.close()


def batch(number: int, **lists: object) -> WriteBatch:
    made = WriteBatch(number)
    for name, rows in lists.items():
        setattr(made, name, rows)
    return made


def test_rows_are_logged_in_the_order_of_their_commits(store: Store, url: str):
    entries = array("Q", [1, 7, 2, 8]).tobytes()
    store.commit(batch(1, templates=[template()], new_runs=[new_run(seq) for seq in (1, 2)]))
    store.commit(batch(2, dispatches=[(1, "host/a", b"s" * 16, 5, entries)], events=[event(2)]))
    store.commit(batch(3, ended=[ended(1), ended(2, state=RunState.FAILED)]))
    log = commit_log.committed(url)
    assert [row.kind for row in log] == ["inserted"] * 2 + ["event", "dispatched"] + ["recorded"] * 2
    assert [row.run_seq for row in log] == [1, 2, 2, None, 1, 2]
    assert [row.state for row in log[-2:]] == [RunState.COMPLETED, RunState.FAILED]
    assert bytes(log[3].entries or b"") == entries
    assert [row.at for row in log] == sorted(row.at for row in log)


def test_an_end_that_replaces_another_one_is_seen(store: Store, url: str):
    store.commit(batch(1, templates=[template()], new_runs=[new_run(1)], ended=[ended(1)]))
    store.close()
    commit_log.execute(url, ["UPDATE run SET state = 101 WHERE seq = 1"])
    ends = [row.state for row in commit_log.committed(url) if row.kind == "recorded"]
    assert ends == [RunState.COMPLETED, RunState.FAILED]
