"""The stateless era, from 2026-07-28: every request brings its own terms in `_meta`. Server side, pure rules."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mcpcore.eras import Terms
from mcpcore.errors import (
    CODE_HEADER_MISMATCH,
    CODE_INTERNAL_ERROR,
    CODE_INVALID_PARAMS,
    CODE_MISSING_CAPABILITY,
    CODE_RESOURCE_NOT_FOUND,
    CODE_UNSUPPORTED_REVISION,
    CODE_URL_ELICITATION_REQUIRED,
    MissingCapability,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.revisions import MODERN_REVISIONS, Era, Revision
from mcpcore.types import (
    LOGGING_LEVELS,
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_PROTOCOL_VERSION,
    ClientCapabilities,
    Implementation,
)

__all__ = (
    "MAX_KNOWN_TERMS",
    "MAX_TERMS_BYTES",
    "KnownTerms",
    "allowed_error",
    "missing_capability",
    "require_envelope",
    "terms_of",
    "unsupported_revision",
)

MAX_KNOWN_TERMS = 256
"""Kinds of clients whose terms are kept: beyond it all are forgotten, since clients choose what they say."""

MAX_TERMS_BYTES = 4096
"""Bytes of JSON that terms may have to be kept: clients declare a few hundred."""

_TERMS = (META_PROTOCOL_VERSION, META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL)
_ABSENT = msgspec.Raw(b"")
"""Encodes as nothing, unlike null and whatever else a client can send."""

_encode = msgspec.json.Encoder().encode

_DEFINED = frozenset((CODE_HEADER_MISMATCH, CODE_MISSING_CAPABILITY, CODE_UNSUPPORTED_REVISION))


def require_envelope(meta: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The `_meta` of a request, once it has what every request must have. Raises `RemoteProtocolError` (-32602)."""
    if meta is None or META_PROTOCOL_VERSION not in meta:
        raise _invalid(f"_meta must have {META_PROTOCOL_VERSION}, the revision of this request")
    if not isinstance(meta[META_PROTOCOL_VERSION], str):
        raise _invalid(f"_meta {META_PROTOCOL_VERSION} must be a string")
    if META_CLIENT_CAPABILITIES not in meta:
        raise _invalid(f"_meta must have {META_CLIENT_CAPABILITIES}, an object; {{}} when there are none")
    return meta


def terms_of(meta: Mapping[str, Any], *, served: Iterable[Revision] = MODERN_REVISIONS) -> Terms:
    """The terms that a complete `_meta` states.

    Checked in the order of the specification: that they are of the right types (-32602), then that the revision
    is served (-32022). Raises `RemoteProtocolError`.
    """
    requested: str = meta[META_PROTOCOL_VERSION]
    capabilities = _convert(meta, META_CLIENT_CAPABILITIES, ClientCapabilities)
    info = _convert(meta, META_CLIENT_INFO, Implementation) if META_CLIENT_INFO in meta else None
    level = meta.get(META_LOG_LEVEL)
    if level is not None and level not in LOGGING_LEVELS:
        raise _invalid(f"_meta {META_LOG_LEVEL} must be one of {', '.join(LOGGING_LEVELS)}")
    revision = Revision.parse(requested)
    if revision is None or revision.era is not Era.MODERN or revision not in served:
        raise unsupported_revision(requested, served)
    return Terms(revision=revision, capabilities=capabilities, client_info=info, log_level=level)


class KnownTerms:
    """Reads the terms of requests, those of a client that repeats itself once.

    They are told apart by their JSON, so that what is known was checked exactly as it is sent.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Terms] = {}

    def __len__(self) -> int:
        return len(self._known)

    def terms_of(self, meta: Mapping[str, Any]) -> Terms:
        """As `terms_of`."""
        try:
            key = _encode([meta.get(name, _ABSENT) for name in _TERMS])
        except (TypeError, ValueError, OverflowError, RecursionError):
            return terms_of(meta)  # built in this process, out of what has no JSON
        known = self._known.get(key)
        if known is None:
            known = terms_of(meta)
            if len(key) <= MAX_TERMS_BYTES:
                if len(self._known) >= MAX_KNOWN_TERMS:
                    self._known.clear()
                self._known[key] = known
        return known


def unsupported_revision(requested: str, served: Iterable[Revision]) -> RemoteProtocolError:
    """-32022, with what the client needs to choose another one."""
    names = [str(revision) for revision in served]
    return RemoteProtocolError(
        f"revision {requested!r} is not served here; this server speaks {', '.join(names)}",
        code=CODE_UNSUPPORTED_REVISION,
        data={"supported": names, "requested": requested},
    )


def allowed_error(error: RequestError) -> RequestError:
    """An error as a handler may send it: with another code if its own is retired, or reserved for the protocol."""
    retired = error.code in (CODE_RESOURCE_NOT_FOUND, CODE_URL_ELICITATION_REQUIRED)
    reserved = error.code in range(-32099, -32019) and error.code not in _DEFINED
    return RequestError(CODE_INTERNAL_ERROR, error.message, error.data) if retired or reserved else error


def missing_capability(error: MissingCapability) -> RequestError:
    """-32021: the handler needs something that this request's client did not declare."""
    return RequestError(CODE_MISSING_CAPABILITY, str(error), {"requiredCapabilities": error.required})


def _convert(meta: Mapping[str, Any], key: str, type: type[Any]) -> Any:
    try:
        return msgspec.convert(meta[key], type)
    except msgspec.ValidationError as error:
        raise _invalid(f"_meta {key}: {error}") from None


def _invalid(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, code=CODE_INVALID_PARAMS)
