"""Which control plane is meant: one that is named by its address, or the local yard."""

from collections.abc import Callable


def locator(address: str) -> Callable[[], str]:
    """Return what finds the control plane that is meant by an address, each time a connection is made.

    A local yard ends when it is idle; finding it starts it again.
    """
    if address:
        return lambda: address
    # Workers, and programs that name a server, are spared what starting a yard imports.
    from taskyard._network.server.local_yard import ensure_yard

    return ensure_yard
