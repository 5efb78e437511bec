"""What each extra of the distribution brings, and what is said when a program lacks it.

Asked before a program does anything: one that had made its socket, or started its agent, would be waited for
by others while it ends with a traceback.
"""

from importlib.util import find_spec
from typing import Final

NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "server": (
        "taskyard_controlplane",
        "sqlalchemy",
        "alembic",
        "grpc_health",
        "grpc_reflection",
        "prometheus_client",
        "cryptography",
    ),
    "agent": ("taskyard_agent",),
    "postgres": ("psycopg",),
    "objects": ("obstore",),
}
"""The packages of each extra, as far as its programs cannot do without: all but uvloop."""


class ExtraMissing(RuntimeError):
    """Packages that a program needs are not installed; what to install is in the message."""


def require_extra(extra: str, who: str) -> None:
    """Make sure that the packages of an extra are installed. Imports none of them.

    Args:
        extra: Its name.
        who: What needs it, for the message.

    Raises:
        ExtraMissing: One is missing.
    """
    missing = [name for name in NEEDED[extra] if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ExtraMissing(
            f"{who} needs {', '.join(missing)}, which {verb} not installed; "
            f"install what is missing with: pip install 'taskyard[{extra}]', or in a checkout of it: "
            f"pip install '.[{extra}]'"
        )
