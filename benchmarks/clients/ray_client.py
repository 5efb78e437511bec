"""A fresh Ray client: joins the cluster at BENCH_ADDRESS, or starts one of its own where that is empty."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
import os

import ray

from benchmarks.clients import READY


@ray.remote
def identity(value: int) -> int:
    return value


if __name__ == "__main__":
    address = os.environ["BENCH_ADDRESS"]
    if address:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    else:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(READY, ray.get(identity.remote(1)), flush=True)
