"""Changing a member of a JSON object without reading the others: what is not changed stays the bytes that it was.

For whoever passes payloads on. An object is taken apart into its members, each one raw; only `_meta` is ever read.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from mcpcore.errors import CODE_INVALID_PARAMS, RemoteProtocolError
from mcpcore.jsonrpc import ABSENT

__all__ = ("Outline", "joined", "members_of", "outline_of", "raw_of", "with_members", "with_meta")


class Outline(msgspec.Struct, frozen=True):
    """The members of some parameters that say where they belong. All others are skipped."""

    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")
    name: Any = None
    uri: Any = None

    @property
    def token(self) -> int | str | None:
        """The progress token, if there is one."""
        token = (self.meta or {}).get("progressToken")
        return token if isinstance(token, int | str) and not isinstance(token, bool) else None


_NOTHING = Outline()
_decode_outline = msgspec.json.Decoder(Outline).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def raw_of(payload: Any) -> msgspec.Raw:
    """A payload as raw JSON: what came over a wire as it is, a struct or dict of this process encoded."""
    return payload if isinstance(payload, msgspec.Raw) else msgspec.Raw(_encode(payload))


def outline_of(params: msgspec.Raw) -> Outline:
    """Raises `RemoteProtocolError` (-32602) for what is no object, or has no object as `_meta`."""
    if not params:
        return _NOTHING
    try:
        return _decode_outline(params)
    except (ValueError, RecursionError) as error:
        raise _unreadable(error) from error


def members_of(payload: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of an object, each one raw. Raises `RemoteProtocolError` (-32602) for what is none."""
    if not payload:
        return {}
    try:
        return _decode_members(payload)
    except (ValueError, RecursionError) as error:
        raise _unreadable(error) from error


def joined(members: Mapping[str, Any]) -> msgspec.Raw:
    """The object with these members."""
    return msgspec.Raw(_encode(members))


def with_members(payload: msgspec.Raw, put: Mapping[str, Any], drop: Collection[str] = ()) -> msgspec.Raw:
    """The object with some members replaced, added or left out; the same `payload` when that changes nothing."""
    members = members_of(payload)
    if not put and members.keys().isdisjoint(drop):
        return payload
    kept = {name: value for name, value in members.items() if name not in drop}
    return joined({**kept, **put})


def with_meta(payload: msgspec.Raw, put: Mapping[str, Any], drop: Collection[str] = ()) -> msgspec.Raw:
    """The object with some keys of its `_meta` replaced, added or left out; without `_meta` when none is left, and the
    same `payload` when that changes nothing."""
    if not put and b'"_meta"' not in bytes(payload):
        return payload
    members = members_of(payload)
    old = members_of(members.get("_meta", ABSENT))
    meta: dict[str, Any] = {**{name: value for name, value in old.items() if name not in drop}, **put}
    if not put and meta.keys() == old.keys() and (meta or "_meta" not in members):
        return payload
    if meta:
        return joined({**members, "_meta": meta})
    return joined({name: value for name, value in members.items() if name != "_meta"}) if len(members) > 1 else _EMPTY


_EMPTY = msgspec.Raw(b"{}")


def _unreadable(error: Exception) -> RemoteProtocolError:
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return RemoteProtocolError(f"the parameters cannot be read: {reason}", code=CODE_INVALID_PARAMS)
