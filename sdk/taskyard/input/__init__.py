"""Values that people, and other flows, give a flow run while it goes on.

What is to be given is described by a class, `RunInput`, which is a value like any model of pydantic's. The
control plane does not pass such values on yet: sending, receiving and waiting raise
`taskyard.exceptions.NotSupported`.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.input.run_input import (
    AutomaticRunInput,
    GetInputHandler,
    Keyset,
    RunInput,
    RunInputMetadata,
    keyset_from_base_key,
    receive_input,
    run_input_subclass_from_type,
    send_input,
)

__all__ = [
    "AutomaticRunInput",
    "GetInputHandler",
    "Keyset",
    "RunInput",
    "RunInputMetadata",
    "keyset_from_base_key",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
