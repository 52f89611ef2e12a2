"""Unions that carry no tag on the wire, and the decoders that can read them.

Most MCP unions say in a `type` member which struct they are, and msgspec reads those by itself. Two do not:
resource contents (`text` or `blob` is there) and elicitation parameters (no `mode` means form). Fields of such
a union are annotated with a `ByShape` class, which every decoder has to know: build decoders with `wire_decoder`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

import msgspec

from mcpcore.types.base import Model

__all__ = ("ByShape", "Number", "RawJSON", "Tagged", "decode_shape", "wire_decoder")

T = TypeVar("T")

Number: TypeAlias = int | float
"""A `number` of the TypeScript source. The published JSON Schemas narrow some to integers; floats are legal."""

if TYPE_CHECKING:
    RawJSON: TypeAlias = msgspec.Raw | dict[str, Any]
else:
    # What a decoder leaves alone, so that whoever knows the type reads it once. Local callers pass plain values.
    RawJSON = msgspec.Raw


class Tagged(Model, frozen=True, kw_only=True):
    """A member of a union that is told apart by its `type` member."""

    @property
    def type(self) -> str:
        """The `type` member on the wire."""
        return str(self.__struct_config__.tag)


class ByShape(ABC):
    """A union whose members are told apart by what is in the object. The structs are registered as subclasses."""

    structs: ClassVar[tuple[type[Model], ...]]

    @classmethod
    @abstractmethod
    def pick(cls, members: Mapping[str, Any]) -> type[Model]:
        """The struct that this JSON object is. Raises ValueError with a text for the peer when it is none."""


def decode_shape(kind: type, value: Any) -> Any:
    """msgspec's `dec_hook` for `ByShape` annotations. Raises ValueError, to which msgspec adds the member path."""
    if not issubclass(kind, ByShape):
        raise NotImplementedError(f"no decoder for {kind.__name__}")
    if not isinstance(value, dict):
        raise ValueError(f"Expected `object`, got `{type(value).__name__}`")
    try:
        return msgspec.convert(value, kind.pick(value), dec_hook=decode_shape)
    except msgspec.ValidationError as error:
        # msgspec adds the outer path only to errors that are not its own.
        raise ValueError(str(error)) from error


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def wire_decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The one JSON decoder of this payload type, built at first use."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind, dec_hook=decode_shape)
    return cast("msgspec.json.Decoder[T]", decoder)
