"""One client that watches runs of a server until it is terminated, and leaves unread what it is told.

`python -m benchmarks.watcher ADDRESS [STATE ...]`: all runs, or those in some states. It says so when it has
been told of those that there are.
"""

import sys
import time
from typing import Any, Final

import grpc

from taskyard_api.v1 import run_service_pb2 as pb

AGAIN_SECONDS: Final = 0.5
"""Who is too far behind lists again, but not all the time."""


def main(address: str, states: list[int]) -> None:
    """Watch for ever."""
    channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
    watch: Any = channel.unary_stream("/taskyard_api.v1.RunService/WatchRuns")  # bytes are not taken apart
    wanted = pb.RunFilter(states=states)  # type: ignore[arg-type]
    request = pb.WatchRunsRequest(filter=wanted).SerializeToString()
    said = False
    while True:
        try:
            for message in watch(request):
                if not said and pb.WatchRunsResponse.FromString(message).caught_up:
                    said = True
                    print("watching", flush=True)
        except grpc.RpcError as error:
            print(error, file=sys.stderr, flush=True)
            time.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], [int(state) for state in sys.argv[2:]])
