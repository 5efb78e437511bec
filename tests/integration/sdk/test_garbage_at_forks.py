"""What a process leaves to the collector of garbage, and its forked children must not destroy."""

import subprocess
import sys
from typing import Final

PROGRAM: Final = """
import asyncio
import gc
import os
import signal

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
child = os.fork()
if child == 0:
    signal.alarm(10)
    gc.collect()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""


def test_a_forked_child_does_not_wait_for_the_destruction_of_what_its_parent_left() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
