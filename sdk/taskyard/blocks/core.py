"""`Block`: a model of configuration that can be saved under a name and loaded wherever it is needed.

In asynchronous code the methods that call the server return awaitables; those that begin with "a" always do.
"""

import asyncio
import warnings
from abc import ABC
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, cast
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from taskyard._async_dispatch import dispatched
from taskyard._missing_features import absent_names
from taskyard._network.server.kept_documents import KeptDocuments, kept_documents
from taskyard.blocks import stored
from taskyard.blocks.contents import Path, put_together, rebuilt, secret_paths_in, take_apart
from taskyard.blocks.kept_secret import half_made, hidden, without_input
from taskyard.blocks.types import (
    InvalidBlockRegistration,
    UnknownBlockType,
    blocks_in,
    check_registrable,
    class_of,
    note_class,
    said_of,
    slug_of,
)

__all__ = ["Block", "InvalidBlockRegistration", "UnknownBlockType"]

_IN_USE: Final = (
    "You are attempting to save values with a name that is already in use for this block type. If you would"
    " like to overwrite the values that are saved, then save with `overwrite=True`."
)


class Block(BaseModel, ABC):
    """Configuration with a type: a subclass says which fields it has, and what can be done with them.

    Fields of `SecretStr`, `SecretBytes`, `Secret` and `SecretDict` are encrypted by the control plane before
    it stores them, and shown as asterisks. A field may be a block itself: one that is saved is referred to by
    its name, and another one is saved within.

    Instead of `__init__`, a subclass has `block_initialization`: it is called when a block is made or loaded.
    """

    # Without what was validated: it may be secret, and messages end up in logs.
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = None
    _block_type_slug: ClassVar[str | None] = None
    _logo_url: ClassVar[Any] = None
    _documentation_url: ClassVar[Any] = None
    _description: ClassVar[str | None] = None
    _code_example: ClassVar[str | None] = None
    _block_schema_capabilities: ClassVar[list[str] | None] = None
    _block_schema_version: ClassVar[str | None] = None

    _block_document_id: UUID | None = PrivateAttr(None)
    _block_document_name: str | None = PrivateAttr(None)
    _is_anonymous: bool | None = PrivateAttr(None)

    def __init__(self, **data: Any) -> None:
        """Make a block that is not saved."""
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise without_input(error) from None
        self.block_initialization()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Note which class this type of blocks has."""
        super().__pydantic_init_subclass__(**kwargs)
        note_class(cls)

    def block_initialization(self) -> None:
        """Do what has to be done when a block is made or loaded. For subclasses."""

    @classmethod
    def get_block_type_name(cls) -> str:
        """Return the name of this type: `_block_type_name`, else that of the class."""
        origin = cls.__pydantic_generic_metadata__["origin"]
        return cls._block_type_name or (origin or cls).__name__

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the name of this type in references, "my-type" in "my-type/my-name"."""
        return slug_of(cls._block_type_slug or cls.get_block_type_name())

    @staticmethod
    def is_block_class(block: Any) -> bool:
        """Say whether something is a class of blocks."""
        return isinstance(block, type) and issubclass(block, Block)

    @classmethod
    def get_block_class_from_key(cls, key: str) -> type["Block"]:
        """Return the class of a type by its slug.

        Raises:
            UnknownBlockType: This process has none.
        """
        return class_of(key)

    def saved_as(self) -> str | None:
        """Return "type/name" if this block is saved under a name, None otherwise."""
        name = self._block_document_name
        return None if name is None or self._is_anonymous else f"{self.get_block_type_slug()}/{name}"

    def save(self, name: str | None = None, overwrite: bool = False) -> UUID:
        """Save the block, and return the id of what is saved; it is durable then.

        Args:
            name: Lowercase letters, digits and dashes. None: the name it was saved or loaded under.
            overwrite: Whether one of this name and type may be there already.

        Raises:
            ValueError: One is there already; or there is no name, or none of this form.
            SecretUnreadable: It has secrets, and the server has no key for them.
            DocumentTooLarge: It has more than 512 KiB.
        """
        return dispatched(partial(self._save, name, overwrite=overwrite))

    async def asave(self, name: str | None = None, overwrite: bool = False) -> UUID:
        """Save like `save`, without blocking the event loop."""
        return await asyncio.to_thread(self._save, name, overwrite=overwrite)

    @classmethod
    def load(cls, name: str, validate: bool = True) -> Self:
        """Load a block that was saved.

        Args:
            name: Its name; of `Block` itself "type/name", and the class of that type has to be imported.
            validate: False: what is missing is None, with a warning. For blocks that were saved before their
                class had a new field.

        Raises:
            ValueError: There is none of this name.
            RuntimeError: What was saved does not fit the class.
            UnknownBlockType: No class of this process is that type.
            SecretUnreadable: The server has not the key to what is secret in it.
        """
        return dispatched(partial(cls._load, name, validate))

    @classmethod
    async def aload(cls, name: str, validate: bool = True) -> Self:
        """Load like `load`, without blocking the event loop."""
        return await asyncio.to_thread(cls._load, name, validate)

    @classmethod
    def load_from_ref(cls, ref: str | UUID | dict[str, Any], validate: bool = True) -> Self:
        """Load a block by its id, `{"block_document_id": id}` or `{"block_document_slug": "type/name"}`.

        Raises:
            ValueError: The reference is none of these, or there is no such block.
        """
        return dispatched(partial(cls._load_from_ref, ref, validate))

    @classmethod
    def delete(cls, name: str) -> None:
        """Delete a saved block, named as for `load`.

        Raises:
            ValueError: There is none of this name.
        """
        return dispatched(partial(cls._delete, name))

    @classmethod
    async def adelete(cls, name: str) -> None:
        """Delete like `delete`, without blocking the event loop."""
        await asyncio.to_thread(cls._delete, name)

    @classmethod
    def register_type_and_schema(cls) -> None:
        """Tell the server of this type, and of those of blocks inside; saving does so, too.

        Raises:
            InvalidBlockRegistration: It is `Block` itself, or an interface.
        """
        return dispatched(cls._register)

    @classmethod
    async def aregister_type_and_schema(cls) -> None:
        """Register like `register_type_and_schema`, without blocking the event loop."""
        await asyncio.to_thread(cls._register)

    @classmethod
    def _register(cls) -> None:
        check_registrable(cls, "register_type_and_schema")
        cls._register_in(kept_documents(stored.TYPE), set())

    @classmethod
    def _register_in(cls, documents: KeptDocuments, seen: set[type["Block"]]) -> None:
        seen.add(cls)
        for info in cls.model_fields.values():
            for inner in blocks_in(info.annotation, Block):
                if inner not in seen and inner is not Block:
                    inner._register_in(documents, seen)
        stored.write_type(documents, cls.get_block_type_slug(), said_of(cls))

    def _save(self, name: str | None = None, is_anonymous: bool = False, overwrite: bool = False) -> UUID:
        """Save the block, also under a name that nobody has to know."""
        if is_anonymous:
            if name is not None:
                raise ValueError("an anonymous block has no name; leave it out, or leave out `is_anonymous`")
            name = f"anonymous-{uuid4()}"
        name = name or self._block_document_name
        if name is None:
            raise ValueError(
                "You're attempting to save a block document without a name. Please call `save` with a `name`."
            )
        stored.check_name(name)
        parts = take_apart(self)
        self._register()

        def may_overwrite() -> bool:
            if not overwrite:
                raise ValueError(_IN_USE)
            return True

        self._block_document_id = stored.write_block(
            self.get_block_type_slug(), name, parts,
            anonymous=is_anonymous, may_overwrite=may_overwrite,
        )  # fmt: skip
        self._block_document_name, self._is_anonymous = name, is_anonymous
        return self._block_document_id

    @classmethod
    def _named(cls, name: str) -> tuple[str, str]:
        """Return type and name of what is meant by a name."""
        if cls is not Block:
            return cls.get_block_type_slug(), name
        slug, found, own = name.partition("/")
        if not found:
            raise ValueError(f"Block needs 'type/name', got {name!r}; a class of blocks takes the name alone")
        return slug, own

    @classmethod
    def _load(cls, name: str, validate: bool = True, inside: tuple[str, ...] = ()) -> Self:
        slug, own = cls._named(name)
        return cls._made(stored.read_block(slug, own), f"{slug}/{own}", validate, inside)

    @classmethod
    def _load_from_ref(cls, ref: str | UUID | dict[str, Any], validate: bool) -> Self:
        if isinstance(ref, dict):
            slug = ref.get("block_document_slug")
            if slug:
                return cast(Self, Block._load(slug, validate))
            ref = ref.get("block_document_id") or ""
        try:
            block_id = ref if isinstance(ref, UUID) else UUID(ref)
        except ValueError:
            raise ValueError(f"Invalid reference format {ref!r}.") from None
        return cls._made(stored.find_block(block_id), f"with the id {block_id}", validate, ())

    @classmethod
    def _made(
        cls, found: stored.StoredBlock | None, meant: str, validate: bool, inside: tuple[str, ...]
    ) -> Self:
        """Make a block of what is stored."""
        if found is None:
            slug, _, own = meant.partition("/")
            said = f"named {own} for block type {slug}" if own else meant
            within = f", which is part of {inside[-1]}" if inside else ""
            raise ValueError(f"Unable to find block document {said}{within}")
        block_class = cast(type[Self], class_of(found.slug) if cls is Block else cls)
        around = (*inside, f"{found.slug}/{found.name}")

        def named(name: str) -> Block:
            if name in around:
                raise ValueError(f"the block '{name}' is part of itself")
            return Block._load(name, inside=around)

        def inline(slug: str, data: dict[str, Any]) -> Block:
            return cast(Block, class_of(slug).model_validate(data))

        data = rebuilt(put_together(found.data, found.secret), named, inline)
        block = block_class._validated(data, found.name, validate, secret_paths_in(found.secret))
        block._block_document_id, block._block_document_name = found.id, found.name
        block._is_anonymous = found.anonymous
        return block

    @classmethod
    def _validated(cls, data: dict[str, Any], name: str, validate: bool, secret_paths: list[Path]) -> Self:
        try:
            block, valid = cls.model_validate(data), True
        except ValidationError as failed:
            error, slug = without_input(failed), cls.get_block_type_slug()
            if validate:
                raise RuntimeError(
                    f"Unable to load {name!r} of block type {slug!r} due to failed validation. To load"
                    " without validation, try loading again with `validate=False`."
                ) from error
            wrong = sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]})
            warnings.warn(
                f"Could not fully load {name!r} of block type {slug!r}, probably because it was saved before"
                f" {cls.__name__!r} had all of its fields. Give values to {', '.join(wrong)} and save it with"
                " `overwrite=True` before it is used.",
                stacklevel=4,
            )
            made = half_made(cls, {**dict.fromkeys(wrong), **data})
            block, valid = cls.model_construct(**made), False
        for path in secret_paths:
            hidden(block, path, everything=not valid)
        return block

    @classmethod
    def _delete(cls, name: str) -> None:
        slug, own = cls._named(name)
        if not stored.remove_block(slug, own):
            raise ValueError(f"Unable to find block document named {own} for block type {slug}")


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
