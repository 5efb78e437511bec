"""Lists runs as far as somebody is willing to wait.

A server looks at so many runs for one page and then says how far it came. Whether to go on from there is
for people to say, because it can take long and find nothing. Only what is open is always looked for to the
end: those runs may be old, and are what matters most.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from taskyard.cli.views.output import clock_time
from taskyard_contract.states import FIRST_FINAL

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run, RunFilter


class Search:
    """Runs that fit a filter, in order; iterated over once."""

    def __init__(
        self,
        api: "Client",
        wanted: "RunFilter",
        limit: int,
        *,
        to_the_end: bool = False,
        oldest_first: bool = False,
    ) -> None:
        """Look for at most `limit` runs; `to_the_end` says not to give up before the last run."""
        self.searched_to_us = 0
        """How far it came, if it gave up: when the last run that was looked at was submitted."""
        self._oldest_first = oldest_first
        self._api = api
        self._wanted = wanted
        self._limit = limit
        self._patient = to_the_end or any(state < FIRST_FINAL for state in wanted.states)

    def __iter__(self) -> "Iterator[Run]":
        left = self._limit
        for page in self._api.run_pages(self._wanted, self._limit, oldest_first=self._oldest_first):
            yield from page.runs[:left]
            left -= len(page.runs)
            if left <= 0:
                return
            if page.searched_to_us and not self._patient:
                self.searched_to_us = page.searched_to_us
                return

    def say_how_far(self) -> None:
        """Tell people, beside what they asked for, that there may be more."""
        if self.searched_to_us:
            moment = clock_time(self.searched_to_us)[:-4]
            looked_at = f"since {moment} and no older ones"
            if self._oldest_first:
                looked_at = f"up to {moment} and no newer ones"
            print(f"taskyard: looked at the runs {looked_at}; --all looks at all of them", file=sys.stderr)
