"""What an agent announces that it can execute, in the words of `AgentHello.capabilities`.

A word is a kind of code, which begins with `CODE_PREFIX`, or the name of an encoding (`json/plain`). An agent
is given only runs whose code and encoding it announced.
"""

from typing import Final

CODE_PREFIX: Final = "code/"
CODE_BY_VALUE: Final = "code/blob"
"""Code that travels with its template, as a blob."""
CODE_BY_REFERENCE: Final = "code/reference"
"""`module:qualname`, imported where it runs."""
CODE_BY_NAME: Final = "code/name"
"""A task that the agent's own program registered under a name."""
