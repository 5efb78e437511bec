"""The program of a soak: a wave of runs every few seconds, and a line when one has ended.

`python client.py RUNS SECONDS FROM_ONE_TO_THE_NEXT`: the runs of a wave are those of a flow run. Some log,
some fail, some have results that are blobs, and some share a cache key that no other wave has.
"""

import sys
import time
from datetime import timedelta

from taskyard import flow, get_run_logger, task

LOGS_EVERY = 100
FAILS_EVERY = 1_000
LARGE_EVERY = 500
LARGE_BYTES = 200_000


@task
def small(number: int) -> int:
    if number % LOGS_EVERY == 0:
        get_run_logger().info("this is number %d", number)
    if number % FAILS_EVERY == 1:
        raise ValueError(f"number {number} fails, as it should")
    return number


@task
def large(number: int) -> bytes:
    return number.to_bytes(8, "little") * (LARGE_BYTES // 8)


@task(
    cache_key_fn=lambda _context, parameters: f"wave {parameters['wave']}",
    cache_expiration=timedelta(minutes=1),
)
def cached(wave: int) -> int:
    return wave


@flow
def wave(number: int, runs: int) -> int:
    """Return how many runs did not complete."""
    futures = [
        *small.map(range(runs)),
        *large.map(range(number, number + runs // LARGE_EVERY)),
        *cached.map([number] * (runs // LARGE_EVERY)),
    ]
    for future in futures:
        future.wait()
    return sum(not future.state.is_completed() for future in futures)


def main(runs: int, seconds: float, every: float) -> None:
    """Have waves as long as there is time, none before the one before has ended."""
    began, number = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        failed = wave(number, runs)
        number += 1
        print(f"wave {number} ended, {failed} failed", flush=True)
        time.sleep(max(0.0, began + number * every - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
