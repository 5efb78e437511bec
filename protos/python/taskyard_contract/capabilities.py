"""What an agent announces that it can execute, in the words of `AgentHello.capabilities`.

A word is a kind of code, a version of Python or an environment, each with a prefix of its own, or else the
name of an encoding (`json/plain`). An agent is given only runs whose code, encodings and Python version it
announced, where it announced any, and those that ask for an environment only if it announced that.
"""

import sys
from collections.abc import Iterable
from typing import Final

CODE_PREFIX: Final = "code/"
CODE_BY_VALUE: Final = "code/blob"
"""Code that travels with its template, as a blob."""
CODE_BY_REFERENCE: Final = "code/reference"
"""`module:qualname`, imported where it runs."""
CODE_BY_NAME: Final = "code/name"
"""A task that the agent's own program registered under a name."""
PYTHON_PREFIX: Final = "interpreter/python"
"""Before a version: `interpreter/python3.12` executes code that Python 3.12 has compiled."""
ENVIRONMENT_PREFIX: Final = "environment/"
"""Before the name of an environment that an agent has."""
COROUTINES: Final = "coroutines"
"""What a server says in `AgentWelcome.capabilities` that counts credit for coroutines apart."""
OWN_SESSION: Final = "own_session"
"""The same of one that does not send a program what its own threads have logged."""
RECORDED_EDGES: Final = "recorded_edges"
"""What a server says in `SessionWelcome.capabilities` that takes edges which are only recorded."""
SERVED_TASKS: Final = "served_tasks"
"""What an agent is told by one that gives runs to programs that have their tasks in their own code."""
ROLLBACKS: Final = "rollbacks"
"""What a server says in `SessionWelcome.capabilities` that takes runs of nobody from sessions, and runs that
wait for others not to complete: what is to be undone if a flow run is lost."""


def own_version() -> str:
    """Return the version of Python that executes this, as templates say it: "3.12"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def own_interpreter() -> str:
    """Return the word by which an agent announces it."""
    return f"{PYTHON_PREFIX}{own_version()}"


def pythons_of(words: Iterable[str]) -> list[str]:
    """Return the versions of Python that announced words name."""
    return [word.removeprefix(PYTHON_PREFIX) for word in words if word.startswith(PYTHON_PREFIX)]
