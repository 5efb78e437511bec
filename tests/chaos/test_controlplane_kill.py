"""``kill -9`` of the control plane, again and again, while 20,000 runs are under way."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.history import check_all, read_history
from support.processes import Installation, installation
from support.recorded import Recorded

MAPPED, LOOPED = 10_000, 10_000
KILLS = 5
WIDTH = 500

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'taskyard.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def running(tmp_path: Path, database: str) -> Iterator[Installation]:
    with installation(tmp_path, database, agent_lease=10, session_lease=20) as running:
        running.start_server()
        running.start_agent()
        yield running


def test_every_acknowledged_run_ends_exactly_once(running: Installation) -> None:
    """Semantics: what was acknowledged survives, and no effect is doubled."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    client = running.start_client("bulk", MAPPED, LOOPED, 0.7)
    running.wait_for(lambda: len(client.output()) > 1000, 30, "the first results")
    for _ in range(KILLS):
        time.sleep(drawn.uniform(0.1, 1.2))
        assert client.running, client.describe()
        running.kill_server()
        time.sleep(drawn.uniform(0.0, 0.5))
        running.start_server()
    records = running.succeeded(client, 120)
    running.stop_server()
    assert len(records) == MAPPED + LOOPED
    history = read_history(running.history)
    print(f"{history.repeated()} executions were repeated")
    check_all(records, Recorded(running.database), history)


def test_a_graph_survives_the_end_of_everything_but_its_client(running: Installation) -> None:
    """Control plane and agent are killed together: retries, cache and dependencies are taken up again."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    agent = running.start_agent("second")
    client = running.start_client("mixed", WIDTH, 10)
    running.wait_for(running.history.exists, 30, "the first executions")
    for round_number in range(3):
        time.sleep(drawn.uniform(0.1, 0.5))
        assert client.running, client.describe()
        victims = [running.kill_server, agent.kill]
        drawn.shuffle(victims)
        for kill in victims:
            kill()
        running.start_server()
        agent = running.start_agent("second")
        print(f"round {round_number}: {running.metric('taskyard_runs_adopted_total'):.0f} runs were adopted")
    records = running.succeeded(client, 90)
    running.stop_server()
    assert len(records) == 4 * WIDTH + WIDTH // 10 + 1
    history = read_history(running.history)
    print(f"{history.repeated()} executions were repeated")
    check_all(records, Recorded(running.database), history)
