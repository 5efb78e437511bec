"""A fresh Prefect client of the server at PREFECT_API_URL."""

from benchmarks.clients import READY
from benchmarks.peers.prefect_app import identity, result_of

if __name__ == "__main__":
    print(READY, result_of(identity.delay(1)), flush=True)
