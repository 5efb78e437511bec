"""A fresh Dask client: joins the scheduler at BENCH_ADDRESS, or starts a cluster where that is empty."""

# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
import os

from distributed import Client, LocalCluster

from benchmarks.clients import READY


def identity(value: int) -> int:
    return value


def main() -> None:
    """Print the first result."""
    address = os.environ["BENCH_ADDRESS"]
    place = address or LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with Client(place) as client:
        print(READY, client.submit(identity, 1).result(), flush=True)


# Without the guard the cluster's spawned workers would start clusters of their own.
if __name__ == "__main__":
    main()
