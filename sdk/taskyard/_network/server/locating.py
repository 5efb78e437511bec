"""Which control plane is meant: one that is named by its address, or the local yard."""

from collections.abc import Callable

from taskyard._network.server.local_yard import ensure_yard


def locator(address: str) -> Callable[[], str]:
    """Return what finds the control plane that is meant by an address, each time a connection is made.

    A local yard ends when it is idle; finding it starts it again.
    """
    return (lambda: address) if address else ensure_yard
