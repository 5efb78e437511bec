"""A fresh Celery client of the Redis at BENCH_REDIS."""

from benchmarks.clients import READY
from benchmarks.peers.celery_app import identity

if __name__ == "__main__":
    print(READY, identity.delay(1).get(), flush=True)
