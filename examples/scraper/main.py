"""Read a web site from its front page on, politely, and say what is in it.

    python main.py                              # a site of 60 pages that the program serves itself
    python main.py --pages 5000 --at-once 16    # a larger one
    python main.py --url http://HOST:PORT/      # any other one; stays on its host

The frontier knows which pages were seen, whatever the links to them look like, and which the site does not
want to be read. No more than `--at-once` requests are under way. A page that was read within the hour is not
asked for again: a second run has everything from the cache, and a run that was killed goes on where it was. A
busy site is given time, and a page that does not exist is noted as a dead link.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from frontier import Frontier
from pages import Page
from site_for_demo import serving
from steps import MissingPage, read_page, read_rules
from taskyard import Future, flow
from taskyard.futures import as_completed


class Found(NamedTuple):
    """What is in a site."""

    pages: list[Page]
    dead: list[str]
    cached: int


@flow
def scrape(start: str, at_once: int, limit: int) -> Found:
    """Read a site.

    Args:
        start: The URL to begin with.
        at_once: How many requests may be under way.
        limit: How many pages to read at most.
    """
    frontier = Frontier(start, read_rules(start), limit)
    pages: list[Page] = []
    dead: list[str] = []
    cached = 0
    asked: dict[Future[Page], str] = {}
    while True:
        asked |= {read_page.submit(url): url for url in frontier.take(at_once - len(asked))}
        if not asked:
            return Found(sorted(pages), sorted(dead), cached)
        future = next(as_completed(asked))
        url = asked.pop(future)
        try:
            page = future.result()
        except MissingPage:
            dead.append(url)
            continue
        cached += future.state.name == "Cached"
        pages.append(page)
        frontier.add(page.links)


def main() -> None:
    """Read a site, write what was found, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="where to begin; without it the program serves a site itself")
    parser.add_argument("--pages", type=int, default=60, help="of the program's own site")
    parser.add_argument("--port", type=int, default=8765, help="of the program's own site")
    parser.add_argument("--limit", type=int, default=10_000, help="pages to read at most")
    parser.add_argument("--at-once", type=int, default=8, help="requests under way")
    parser.add_argument("--output", type=Path, default=Path("pages.jsonl"))
    chosen = parser.parse_args()

    if chosen.url:
        found = scrape(chosen.url, chosen.at_once, chosen.limit)
    else:
        with serving(chosen.pages, chosen.port) as url:
            found = scrape(url, chosen.at_once, chosen.limit)

    with chosen.output.open("w") as output:
        output.writelines(json.dumps(page._asdict()) + "\n" for page in found.pages)
    words = sum(page.words for page in found.pages)
    linked = Counter(link for page in found.pages for link in page.links)
    print(f"{len(found.pages):,} pages with {words:,} words in {chosen.output}")
    print(f"{len(found.pages) - found.cached:,} were read now, {found.cached:,} came from the cache")
    print(f"{len(found.dead):,} dead links: {', '.join(found.dead[:3])}")
    for url, times in sorted(linked.items(), key=lambda one: (-one[1], one[0]))[:3]:
        print(f"{times:4} pages link to {url}")


if __name__ == "__main__":
    main()
