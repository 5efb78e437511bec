"""``taskyard version``: what is installed here, and which protocol it speaks."""

import platform

from taskyard.cli.views.output import JsonOption, print_json
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION


def version(as_json: JsonOption = False) -> None:
    """Print the version of what is installed here."""
    if as_json:
        document = {"version": VERSION, "protocol_min": PROTOCOL_MIN, "protocol_max": PROTOCOL_MAX}
        print_json({**document, "python": platform.python_version()})
        return
    print(
        f"taskyard {VERSION} (protocol {PROTOCOL_MIN} to {PROTOCOL_MAX}, Python {platform.python_version()})"
    )
