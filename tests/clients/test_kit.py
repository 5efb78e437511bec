"""Every program in another language keeps the contract, as far as the kit can tell."""

import os
import subprocess
import sys

import pytest
from clients.programs import CLIENTS, ROOT, Language, check_built, worker
from conformance.scenarios import SCENARIOS
from conformance.things import KNOWN_RUN, OTHER_RUN

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

ADDRESS = "{address}"
SUBMITS = ("submit", "failed", "refused", "overloaded", "lost-answer", "unauthenticated")


@pytest.fixture(autouse=True, scope="module")
def _built() -> None:
    check_built()


def play(scenario: str, command: list[str]) -> None:
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "protos" / "python")])
    played = subprocess.run(
        [sys.executable, "-m", "conformance.server", scenario, "--", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=100,
        check=False,
    )
    assert played.stdout.splitlines()[-1:] == ["PASS"], played.stdout + played.stderr
    assert played.returncode == 0


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith("client-")])
def test_client(scenario: str, client: Language) -> None:
    what = scenario.removeprefix("client-")
    if what in SUBMITS:
        command = client.words(ADDRESS, "submit", "kit.add", "3", "4", queue="kit")
    elif what == "watch":
        command = client.words(ADDRESS, "watch", str(KNOWN_RUN), str(OTHER_RUN))
    else:
        command = client.words(ADDRESS, {"tail": "logs"}.get(what, what), str(KNOWN_RUN))
    play(scenario, command)


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith(("worker-", "poll-"))])
def test_worker(scenario: str) -> None:
    play(scenario, worker(ADDRESS, name="go", queue="kit", poll=scenario.startswith("poll-")))
