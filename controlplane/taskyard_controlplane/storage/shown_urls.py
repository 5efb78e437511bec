"""Database URLs as people, logs and errors may see them.

What is shown is what is known to be harmless: the kind of database, hosts, the name or file, and a few
parameters. All else is hidden, whatever it is called and however the URL is malformed: a secret that was put
into the wrong place is a secret still.

Invariant: nobody else renders a database URL, and no driver's words are passed on but through `Secrets`.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

HIDDEN: Final = "***"
_HARMLESS: Final = frozenset(
    {"application_name", "cache", "connect_timeout", "dbname", "host", "hostaddr", "mode", "name", "port",
     "sslmode", "target_session_attrs", "uri", "vfs"}
)  # fmt: skip
"""Parameters whose values say where a database is and how it is reached, and nothing else."""
_KIND: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_ONE_HOST: Final = r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*)(:\d{1,5})?"
_PLACE: Final = re.compile(rf"{_ONE_HOST}(,{_ONE_HOST})*(/[\w.-]*)?")
_VALUE: Final = re.compile(r"[\w.:,/\\-]*")
_SHORTEST_SECRET: Final = 3
"""Shorter texts are in most sentences by chance; hiding them would spell them out."""


def shown_url(url: str) -> str:
    """Return a database URL fit for people and logs, without anything that lets one in."""
    kind, separator, rest = url.partition("://")
    if not separator or not _KIND.fullmatch(kind):
        return HIDDEN
    if kind.startswith("sqlite"):
        place, question, query = rest.partition("?")
        shown = place if not place or place.startswith("/") else HIDDEN
    else:
        # A password may hold any character. So all up to the last @ is taken for credentials.
        credentials, at, location = rest.rpartition("@")
        place, question, query = location.partition("?")
        shown = place if _PLACE.fullmatch(place) else HIDDEN
        shown = f"{HIDDEN}@{shown}" if at or credentials else shown
    return f"{kind}://{shown}{question}{_shown_query(query)}"


def _shown_query(query: str) -> str:
    return "&".join(map(_shown_parameter, query.split("&"))) if query else ""


def _shown_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if name in _HARMLESS and equals and _VALUE.fullmatch(value):
        return parameter
    return f"{name}={HIDDEN}" if equals and re.fullmatch(r"\w+", name) else HIDDEN


class Secrets:
    """What a URL hides, to be taken out of what drivers say about it."""

    def __init__(self, url: str) -> None:
        """Know the credentials and all parameters of `url` that are not shown."""
        _, _, rest = url.partition("://")
        credentials, _, location = rest.rpartition("@")
        user, _, password = credentials.partition(":")
        _, _, query = location.partition("?")
        pairs = [parameter.partition("=") for parameter in query.split("&")]
        values = [value for name, _, value in pairs if name not in _HARMLESS]
        found = {form for text in (user, password, *values) for form in (text, unquote_plus(text))}
        # The longest first: one may be part of another.
        self._texts = sorted((text for text in found if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return a text without them."""
        for secret in self._texts:
            text = text.replace(secret, HIDDEN)
        return text
