"""Pages and their links."""

from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit


class Page(NamedTuple):
    """What is kept of a page."""

    url: str
    title: str
    words: int
    links: list[str]


def canonical(url: str) -> str:
    """Return the one URL of a page: without a fragment, without what tells where a reader came from."""
    parts = urlsplit(url)
    query = "&".join(one for one in sorted(parts.query.split("&")) if one and not one.startswith("utm_"))
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path or "/", query, ""))


def parse(url: str, html: str) -> Page:
    """Take a page apart."""
    reader = _Reader(url)
    reader.feed(html)
    reader.close()
    return Page(url, reader.title, reader.words, sorted(reader.links))


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.title, self.words, self.links = "", 0, set[str]()
        self._url, self._inside = url, ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        target = dict(attributes).get("href")
        if tag == "a" and target:
            url = canonical(urljoin(self._url, target))
            if url.startswith(("http:", "https:")):
                self.links.add(url)

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data.strip()
        elif self._inside not in ("script", "style"):
            self.words += len(data.split())
