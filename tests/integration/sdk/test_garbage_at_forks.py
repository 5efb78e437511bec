"""What a process leaves to the collector of garbage, and its forked children must not destroy."""

import gc
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Final

import pytest

import taskyard._network.server.loop_thread  # noqa: F401  # what is tested

PROGRAM: Final = """
import asyncio
import gc
import os
import signal
import sys

import grpc.aio

import taskyard._network.server.loop_thread


class Garbage:
    pass


async def leave_a_channel():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    left = Garbage()
    left.itself, left.channel = left, grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    await left.channel.channel_ready()
    await left.channel.close()
    await server.stop(None)


gc.disable()  # that the parent does not collect it first
asyncio.run(leave_a_channel())
if sys.argv[1:] == ["at once"]:
    # What Python itself does after a fork is enough for a collection, in the child alone.
    os.register_at_fork(before=gc.enable, after_in_parent=gc.disable)
    gc.set_threshold(2, 1, 1)
child = os.fork()
if child == 0:
    signal.alarm(10)
    gc.collect()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("when", ["later", "at once"])
def test_a_forked_child_does_not_destroy_what_its_parent_left_to_the_collector(when: str) -> None:
    program = [sys.executable, "-c", PROGRAM, when]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, text=True, start_new_session=True, stdout=pipe, stderr=pipe) as parent:
        try:
            out, err = parent.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)  # a child that hangs is deaf to alarms
    assert out.strip() == "0", err


def test_the_collector_works_as_before_after_a_fork() -> None:
    for works in (True, False):
        (gc.enable if works else gc.disable)()
        try:
            child = os.fork()
            if child == 0:
                os._exit(0 if gc.isenabled() is works else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert gc.isenabled() is works
        finally:
            gc.enable()
