"""Details of progress are JSON where they can be, and refused by type where they cannot travel."""

import threading

import pytest

from taskyard._data.values.progress import details_of, told_details
from taskyard.exceptions import NotSerializable
from taskyard_contract.encodings import JSON, PICKLE


def test_details_are_json_where_they_can_be() -> None:
    told = details_of({"at": 1}, PICKLE)
    assert told.encoding == JSON
    assert told_details(told, JSON) == {"at": 1}
    assert told_details(details_of({1, 2}, PICKLE), PICKLE) == {1, 2}


@pytest.mark.parametrize("arguments", [JSON, PICKLE])
def test_details_that_cannot_travel_are_refused(arguments: str) -> None:
    with pytest.raises(NotSerializable, match="details of progress"):
        details_of(threading.Lock(), arguments)
