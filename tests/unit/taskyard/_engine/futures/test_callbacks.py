"""Callbacks are called whatever others do, and before the program ends."""

import subprocess
import sys
import threading
from pathlib import Path

from taskyard._engine.submission.scope import Scope
from taskyard._network.session.session import Session
from taskyard.futures import Future
from taskyard_contract.id_factory import new_id


def test_a_callback_that_leaves_does_not_take_the_others_along() -> None:
    called = threading.Event()
    first: Future[int] = Future(new_id(), Scope(Session(lambda: "nowhere")))
    second: Future[int] = Future(new_id(), first.origin)
    first.add_done_callback(lambda future: sys.exit(1))
    second.add_done_callback(lambda future: called.set())
    first.settle(b"")
    second.settle(b"")
    assert called.wait(2)


def test_callbacks_are_called_before_the_program_ends(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from taskyard.futures import Future
from taskyard._engine.submission.scope import Scope
from taskyard._network.session.session import Session
future = Future(b"r" * 16, Scope(Session(lambda: "nowhere")))
for number in range(3):
    note = Path({str(tmp_path)!r}, str(number))
    future.add_done_callback(lambda future, note=note: (time.sleep(0.1), note.touch()))
future.settle(b"")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
    assert len(list(tmp_path.iterdir())) == 3
