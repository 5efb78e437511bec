"""Log records as peers send them."""

from support.owner_harness import Client

from taskyard_api.v1 import session_service_pb2 as sp


def log_batch(run_id: bytes, *texts: str) -> sp.LogBatch:
    """Write records of one run."""
    count = len(texts)
    return sp.LogBatch(
        run_ids=[run_id] * count,
        at_us=range(count),
        levels=[20] * count,
        loggers=["tests"] * count,
        messages=texts,
        run_names=["run"] * count,
    )


def logged(client: Client) -> list[str]:
    """Return what a program is shown of logs."""
    told = list[str]()
    while (frame := client.session.next_frame()) is not None:
        client.session.written()
        told += frame.logs.messages
    return told
