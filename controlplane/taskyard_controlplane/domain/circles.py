"""Runs that wait for themselves, through others or not. Pure."""

from collections.abc import Iterable, Mapping


def closing_edges(waits_for: Mapping[bytes, Iterable[bytes]]) -> list[tuple[bytes, bytes]]:
    """Return edges that close circles, as who waits and for whom: each is in a circle, and without them there
    is none. Takes as long as there are edges.
    """
    closing = list[tuple[bytes, bytes]]()
    done = set[bytes]()
    for start in waits_for:
        path = {start: iter(waits_for[start])} if start not in done else {}
        while path:
            run_id = next(reversed(path))
            further = next(path[run_id], None)
            if further is None:
                done.add(run_id)
                del path[run_id]
            elif further in path:
                closing.append((run_id, further))
            elif further in waits_for and further not in done:
                path[further] = iter(waits_for[further])
    return closing
