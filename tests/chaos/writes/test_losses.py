"""Values that are removed, cut short or changed in their store: typed errors that name them, and no more.

What needs them fails, other runs that came with them do not, and nobody gets a wrong value. A value in the
cache that is not what it was counts as none.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chaos.writes.places import NEAR, OBJECTS, PLACES, Place

pytestmark = pytest.mark.timeout(300)

HEAD, PICKLE, BUFFER = "17", "100", "2000000"
KINDS = ["gone", "short", HEAD, PICKLE, BUFFER]
LAST = 499_999.0


@pytest.mark.parametrize("damage", KINDS)
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_value_is_lost(place: Place, tmp_path: Path, damage: str) -> None:
    running = place.running
    running.start_server()
    running.start_agent()
    client = running.start_client("losses", place.files, damage, tmp_path / "meeting")
    records = {record["what"]: record for record in running.succeeded(client, 90)}
    check_argument(place, records["argument"], damage)
    assert records["others"]["values"] == [LAST + 1, LAST + 2]
    check_error(records["result"], damage)
    # Of what is far away only the size is asked for before it is taken from the cache; its reader notices.
    noticed = place.kind != OBJECTS or damage in ("gone", "short")
    anew = {"what": "cached", "state": "Completed", "last": LAST, "kept": "Cached"}
    assert records["cached"] == (anew if noticed else {"what": "cached", "error": "DigestMismatch"})
    executed = Counter(running.history.read_text().split())
    assert executed == {"make": 1, "look": 2, "remember": 1 + noticed}


def check_argument(place: Place, record: dict[str, Any], damage: str) -> None:
    assert record["state"] == "Failed"
    assert record["name"] in record["message"]
    # Of what an agent has not got whole there is nothing to give to the run.
    check_error(record, damage if place.kind == NEAR and damage != "short" else "gone")


def check_error(record: dict[str, Any], damage: str) -> None:
    assert record["error"] == ("BlobNotFound" if damage == "gone" else "DigestMismatch"), record
    assert record["name"] in record["text"]
