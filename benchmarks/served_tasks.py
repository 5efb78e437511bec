"""What the agent of W7 and W9 serves by its name; parameters and results are JSON."""

from taskyard import task


@task
def nothing() -> None:
    """Do nothing."""
