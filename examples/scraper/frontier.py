"""Which pages to read next: none twice, none elsewhere, none that the site forbids."""

from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from pages import canonical


class Frontier:
    """The edge of what was seen of a site."""

    def __init__(self, start: str, rules: str, limit: int) -> None:
        self._host = urlsplit(start).netloc
        self._rules = RobotFileParser()
        self._rules.parse(rules.splitlines())
        self._left = limit
        self._seen: set[str] = set()
        self._waiting: deque[str] = deque()
        self.add([canonical(start)])

    def add(self, links: Iterable[str]) -> None:
        """Add the links of a page."""
        for url in links:
            if url not in self._seen and self._allows(url):
                self._seen.add(url)
                self._waiting.append(url)

    def take(self, number: int) -> list[str]:
        """Return up to `number` pages to read next."""
        taken = [self._waiting.popleft() for _ in range(min(number, self._left, len(self._waiting)))]
        self._left -= len(taken)
        return taken

    def _allows(self, url: str) -> bool:
        return urlsplit(url).netloc == self._host and self._rules.can_fetch("*", url)
