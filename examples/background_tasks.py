"""Tasks in the background: a program that has them done, and two programs that do them.

    python background_tasks.py          # all of it: starts two workers, and stops them in the end
    python background_tasks.py work     # one worker; start as many as are wanted, on any machine

The web application of a shop would do what `shop` does here: it submits and goes on, and no flow is around
it. Runs are durable before `delay` returns. They wait until a worker is there, and when one is killed another
one executes what it had.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

from taskyard import task
from taskyard.task_worker import serve

# A queue of their own keeps them from the agents that execute everything else.
QUEUE = "shop"


@task(queue=QUEUE, retries=2, retry_delay_seconds=0.1)
def charge(order: int) -> str:
    """Charge for an order."""
    time.sleep(0.1)
    return f"receipt {order}"


@task(queue=QUEUE)
def confirm(order: int, receipt: str) -> tuple[int, int]:
    """Write to the customer; returns the order, and the process that wrote."""
    time.sleep(0.05)
    return order, os.getpid()


def shop(orders: int) -> None:
    """Take orders, as requests would bring them, and look at the end what became of them."""
    started = time.monotonic()
    confirmed = []
    for order in range(orders):
        receipt = charge.delay(order)
        # A future among the arguments: it runs when the order has been charged.
        confirmed.append(confirm.apply_async((order, receipt)))
    taken = time.monotonic() - started
    print(f"took {orders} orders in {taken:.2f} s; they are being worked on")
    by_process = Counter(process for _, process in (future.result(timeout=60) for future in confirmed))
    print(f"all were confirmed, by {len(by_process)} workers: {sorted(by_process.values())}")


def main() -> None:
    """Start two workers, take orders, and stop the workers."""
    workers = [subprocess.Popen([sys.executable, __file__, "work"]) for _ in range(2)]
    try:
        shop(orders=40)
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)  # what they are at, they finish
        for worker in workers:
            print(f"a worker ended with exit code {worker.wait(60)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        serve(charge, confirm, limit=4)
    else:
        main()
