"""The SDK is a client with a session as the conformance kit means it, judged as any other program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.scenarios import SCENARIOS

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
os.environ["TASKYARD_SERVER"] = sys.argv[1]
from taskyard import remote_task
from taskyard.exceptions import TaskyardError
try:
    print(remote_task("kit.add", queue="kit")(3, 4))
except TaskyardError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith("session-")])
def test_the_sdk_keeps_the_contract_of_a_session(scenario: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    kit = [sys.executable, "-m", "conformance.server", scenario]
    played = subprocess.run(
        [*kit, "--", sys.executable, str(program), "{address}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "TASKYARD_HOME": str(tmp_path / "home")},
        timeout=60,
        check=False,
    )
    assert played.stdout.splitlines()[-1:] == ["PASS"], played.stdout + played.stderr
