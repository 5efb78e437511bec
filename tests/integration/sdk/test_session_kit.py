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
WRITES_LATE = """
import time
import taskyard._network.session.stream as stream
from taskyard_api.v1 import session_service_pb2 as pb

def late(frame):
    time.sleep(0.05)  # what the server says meanwhile arrives, and nobody takes it in
    return frame.SerializeToString()

class Stub:
    def __init__(self, channel):
        self.Connect = channel.stream_stream(
            "/taskyard_api.v1.SessionService/Connect",
            request_serializer=late,
            response_deserializer=pb.SessionFrame.FromString,
        )

stream.SessionServiceStub = Stub
"""


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith("session-")])
def test_the_sdk_keeps_the_contract_of_a_session(scenario: str, tmp_path: Path) -> None:
    _play(scenario, PROGRAM, tmp_path)


def test_the_sdk_stays_away_when_it_is_told_so_before_its_hello_is_written(tmp_path: Path) -> None:
    _play("session-unauthenticated", WRITES_LATE + PROGRAM, tmp_path)


def _play(scenario: str, source: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(source)
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
