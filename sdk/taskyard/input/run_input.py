"""What can be given to a flow run, as classes; giving it is not served yet, see `taskyard.input`."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr, create_model

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import Refused, refuse

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

T = TypeVar("T")
Keyset = dict[Literal["description", "response", "schema"], str]
"""Under which names an input, and what is said of it, is kept."""
_HOME: Final = "taskyard.input"


def keyset_from_base_key(base_key: str) -> Keyset:
    """Return the names that belong to one that all of them begin with."""
    return {
        "description": f"{base_key}-description",
        "response": f"{base_key}-response",
        "schema": f"{base_key}-schema",
    }


class RunInputMetadata(BaseModel):
    """Who sent an input, to whom, and under which name."""

    key: str
    sender: str | None = None
    receiver: UUID


class RunInput(BaseModel):
    """What is to be given to a flow run; derive from it, with a field for each value."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    _description: str | None = PrivateAttr(default=None)
    _metadata: RunInputMetadata | None = PrivateAttr(default=None)

    @property
    def metadata(self) -> RunInputMetadata | None:
        """Who sent it; None for one that was made here."""
        return self._metadata

    @classmethod
    def keyset_from_type(cls) -> Keyset:
        """Return the names that inputs of this class are kept under."""
        return keyset_from_base_key(cls.__name__.lower())

    @classmethod
    def with_initial_data(cls, description: str | None = None, **values: Any) -> type[Self]:
        """Return the same class with values that are there already, for whoever is asked.

        Args:
            description: What the person is to know.
            **values: Values by field.
        """
        fields = {name: (type(value), value) for name, value in values.items()}
        made = create_model(cls.__name__, __base__=cls, **cast("dict[str, Any]", fields))
        if description is not None:
            cast(Any, made).__private_attributes__["_description"] = PrivateAttr(default=description)
        return made

    @classmethod
    def save(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> Any:
        """Ask a flow run for it.

        Raises:
            NotSupported: Always.
        """
        refuse(f"{cls.__name__}.save(...) of {_HOME}", reasons.PAUSE)

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> Any:
        """Read what was given.

        Raises:
            NotSupported: Always.
        """
        refuse(f"{cls.__name__}.load(...) of {_HOME}", reasons.PAUSE)

    def send_to(self, flow_run_id: UUID, sender: str | None = None, key_prefix: str | None = None) -> Any:
        """Give it to a flow run.

        Raises:
            NotSupported: Always.
        """
        refuse(f"{type(self).__name__}.send_to(...) of {_HOME}", reasons.PAUSE)

    def respond(self, run_input: Any, sender: str | None = None, key_prefix: str | None = None) -> Any:
        """Give whoever sent it something in return.

        Raises:
            NotSupported: Always.
        """
        refuse(f"{type(self).__name__}.respond(...) of {_HOME}", reasons.PAUSE)

    @classmethod
    def receive(cls, *args: Any, **options: Any) -> Any:
        """Wait for inputs of this class.

        Raises:
            NotSupported: Always.
        """
        refuse(f"{cls.__name__}.receive(...) of {_HOME}", reasons.PAUSE)

    @classmethod
    def subclass_from_base_model_type(cls, model_cls: type[BaseModel]) -> "type[RunInput]":
        """Return a class of inputs with the fields of a model."""
        return type(f"{model_cls.__name__}RunInput", (RunInput, model_cls), {})


class AutomaticRunInput(RunInput, Generic[T]):
    """An input of one value, for types that are no models."""

    value: T

    @classmethod
    def subclass_from_type(cls, value_type: Any) -> "type[AutomaticRunInput[Any]]":
        """Return a class of inputs of one type."""
        prefix = getattr(value_type, "__name__", "").lower()
        name = f"{prefix}AutomaticRunInput"
        return create_model(name, __base__=AutomaticRunInput, value=(value_type, ...))


def run_input_subclass_from_type(value_type: Any) -> Any:
    """Return the class of inputs for a type: itself, one with the fields of a model, or one of a value."""
    if isinstance(value_type, type) and issubclass(value_type, RunInput):
        return value_type
    if isinstance(value_type, type) and issubclass(value_type, BaseModel):
        return RunInput.subclass_from_base_model_type(value_type)
    return AutomaticRunInput.subclass_from_type(value_type)


class GetInputHandler(Refused):
    """Iterates over inputs as they arrive."""

    why_refused = reasons.PAUSE


def send_input(
    run_input: Any, flow_run_id: UUID, sender: str | None = None, key_prefix: str | None = None
) -> Any:
    """Give a value to a flow run.

    Raises:
        NotSupported: Always; flow runs take no inputs yet.
    """
    refuse(f"{_HOME}.send_input(...)", reasons.PAUSE)


def receive_input(input_type: Any, *args: Any, **options: Any) -> Any:
    """Wait for values of a type that are given to this flow run.

    Raises:
        NotSupported: Always; flow runs take no inputs yet.
    """
    refuse(f"{_HOME}.receive_input(...)", reasons.PAUSE)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
