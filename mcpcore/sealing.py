"""Sealed `requestState`: what a server hands to a client between two rounds of one request and takes back
unaltered (MCP 2026-07-28, multi round-trip requests; the specification calls it attacker-controlled input).

The state is signed, not encrypted: Python's standard library has no authenticated encryption. Whoever holds the
text can read the payload, so put nothing in it that the client, its model or its logs must not see.

Sealing does not make a state single-use. Within its lifetime the same client may send it again with the same
request; an action that must not happen twice needs a record on the server.

The text is base64url without padding (RFC 4648, section 5) of

    version 1 byte | form 1 byte | key id 4 bytes | issue time 8 bytes, milliseconds since 1970
    | binding tag 16 bytes | payload | HMAC-SHA256 of all before it, 32 bytes

The binding tag is an HMAC-SHA256 of header and binding, cut to 16 bytes; the log can then tell a state that was
carried to another request from one that was made up. No field names an algorithm: the version implies them, and
a client cannot talk a server into a weaker one.
"""

import os
import struct
import time
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from mcpcore.errors import InvalidParams, LocalProtocolError

__all__ = (
    "CLOCK_SKEW_SECONDS",
    "COMPRESS_ABOVE_BYTES",
    "KEY_BYTES",
    "MAX_EXPANSION",
    "MAX_STATE_BYTES",
    "STATE_LIFETIME_SECONDS",
    "RejectionReason",
    "StateRejected",
    "StateSealer",
    "binding_of",
)

STATE_LIFETIME_SECONDS = 600.0
"""Seconds from sealing to the last moment of acceptance: time for a person to answer a form."""

MAX_STATE_BYTES = 64 * 1024
"""Bytes (characters) of the sealed text: it travels in every retry, next to the original parameters."""

MAX_EXPANSION = 4
"""The payload may have this many times the size limit of its text, before compression. It bounds decompression."""

COMPRESS_ABOVE_BYTES = 1024
"""Payload bytes below which compression costs more than it saves."""

KEY_BYTES = 32
"""Least length of a key in bytes: the output of SHA-256, below which HMAC loses strength (RFC 2104, section 3)."""

CLOCK_SKEW_SECONDS = 30.0
"""Seconds by which another worker's clock may be ahead of ours."""

RejectionReason: TypeAlias = Literal["malformed", "forged", "expired", "bound elsewhere"]

_VERSION = 1
_PLAIN, _DEFLATED = 0, 1
_HEADER = struct.Struct(">BB4sQ")
_TAG_BYTES = 16
_MAC_BYTES = 32
_OVERHEAD_BYTES = _HEADER.size + _TAG_BYTES + _MAC_BYTES
# What the two uses of one key are told apart by.
_STATE_USE, _BINDING_USE = b"mcpcore state\0", b"mcpcore binding\0"


class StateRejected(InvalidParams):
    """A client sent a `requestState` that this server does not accept here: -32602.

    The text is the same for every reason, so that it teaches a forger nothing. `reason` is for the log: it holds
    nothing of the state itself.
    """

    def __init__(self, reason: RejectionReason) -> None:
        super().__init__("requestState is not valid here: send the request again without it to start over")
        self.reason: RejectionReason = reason


class StateSealer:
    """Seals payloads with `keys[0]` and opens what any of `keys` sealed: put a fresh key in front, and drop the old
    one after `lifetime` seconds.

    Without keys it makes one at random. Then only this process can open what it sealed: several workers, or a
    restart within the lifetime, need keys that they share.

    `lifetime` is in seconds, `max_bytes` limits the sealed text, `clock` gives seconds since 1970. Raises
    `LocalProtocolError` for an empty sequence of keys, a key under `KEY_BYTES` bytes, or a limit that is not positive.
    """

    __slots__ = ("_clock", "_keys", "_lifetime", "_max_bytes")

    def __init__(
        self,
        keys: Sequence[bytes] | None = None,
        *,
        lifetime: float = STATE_LIFETIME_SECONDS,
        max_bytes: int = MAX_STATE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if keys is None:
            keys = (os.urandom(KEY_BYTES),)
        # A text is a sequence too, and `bytes` one of integers: one bare key must not pass for a ring.
        if not keys or not all(isinstance(key, bytes) and len(key) >= KEY_BYTES for key in keys):
            raise LocalProtocolError(
                f"keys is a sequence of one or more keys of at least {KEY_BYTES} random bytes each"
            )
        if lifetime <= 0 or max_bytes <= 0:
            raise LocalProtocolError(f"lifetime and max_bytes are more than 0, not {lifetime} and {max_bytes}")
        self._keys = tuple(keys)
        self._lifetime = lifetime
        self._max_bytes = max_bytes
        self._clock = clock

    def seal(self, payload: bytes, *, binding: bytes) -> str:
        """The text to send as `requestState`. Only `open` with the same binding (see `binding_of`) accepts it.

        Raises `LocalProtocolError` if the payload is over four times `max_bytes`, or its text over `max_bytes`.
        """
        form, body = _PLAIN, payload
        if len(payload) > self._max_bytes * MAX_EXPANSION:
            raise LocalProtocolError(
                f"{len(payload)} bytes of state are over the limit of {self._max_bytes * MAX_EXPANSION}: keep less"
            )
        if len(payload) > COMPRESS_ABOVE_BYTES:
            deflated = zlib.compress(payload)
            if len(deflated) < len(payload):
                form, body = _DEFLATED, deflated
        key = self._keys[0]
        header = _HEADER.pack(_VERSION, form, _id_of(key), int(self._clock() * 1000))
        signed = header + _tag(key, header, binding) + body
        text = _encode(signed + _mac(key, signed))
        if len(text) > self._max_bytes:
            raise LocalProtocolError(f"a sealed state of {len(text)} bytes is over the limit of {self._max_bytes}")
        return text

    def open(self, text: str, *, binding: bytes) -> bytes:
        """The payload that `seal` was given. Raises `StateRejected`.

        The signature is checked first: of a forged text only length, version and key id are looked at.
        """
        if len(text) > self._max_bytes:
            raise StateRejected("malformed")
        raw = _decode(text)
        if raw is None or len(raw) < _OVERHEAD_BYTES or raw[0] != _VERSION:
            raise StateRejected("malformed")
        header = raw[: _HEADER.size]
        _, form, key_id, issued = _HEADER.unpack(header)
        key = self._signing_key(key_id, raw[:-_MAC_BYTES], raw[-_MAC_BYTES:])
        if key is None:
            raise StateRejected("forged")
        age = self._clock() - issued / 1000
        if not -CLOCK_SKEW_SECONDS <= age <= self._lifetime:
            raise StateRejected("expired")
        body_at = _HEADER.size + _TAG_BYTES
        if not _same(raw[_HEADER.size : body_at], _tag(key, header, binding)):
            raise StateRejected("bound elsewhere")
        return self._inflate(form, raw[body_at:-_MAC_BYTES])

    def _signing_key(self, key_id: bytes, signed: bytes, mac: bytes) -> bytes | None:
        for key in self._keys:
            if _id_of(key) == key_id and _same(mac, _mac(key, signed)):
                return key
        return None

    def _inflate(self, form: int, body: bytes) -> bytes:
        limit = self._max_bytes * MAX_EXPANSION
        if form == _PLAIN:
            return body
        if form != _DEFLATED:
            raise StateRejected("malformed")
        # One of our keys signed this; the bound is for a worker with larger limits, or a key that leaked.
        inflater = zlib.decompressobj()
        try:
            payload = inflater.decompress(body, limit + 1)
        except zlib.error:
            raise StateRejected("malformed") from None
        if len(payload) > limit or not inflater.eof or inflater.unused_data:
            raise StateRejected("malformed")
        return payload


def binding_of(*, method: str, params_digest: bytes, principal: str | None) -> bytes:
    """What ties a state to one request: its method, a digest of the parameters that matter, and who sent it.

    Each field goes in with its length, and None is told apart from the empty text, so no two different triples give
    the same bytes. None means that nobody signed in: such a state is bound to the request alone.
    """
    # surrogatepass: a name that is no proper text gets bytes of its own too, instead of an exception here.
    fields = [method.encode("utf-8", "surrogatepass"), params_digest]
    if principal is not None:
        fields.append(principal.encode("utf-8", "surrogatepass"))
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


# OpenSSL is loaded by the first state that is sealed or opened: most servers never ask, and all start sooner.


def _id_of(key: bytes) -> bytes:
    from hashlib import sha256

    return sha256(key).digest()[:4]


def _mac(key: bytes, signed: bytes) -> bytes:
    import hmac

    return hmac.digest(key, _STATE_USE + signed, "sha256")


def _tag(key: bytes, header: bytes, binding: bytes) -> bytes:
    import hmac

    return hmac.digest(key, _BINDING_USE + header + binding, "sha256")[:_TAG_BYTES]


def _same(one: bytes, other: bytes) -> bool:
    import hmac

    return hmac.compare_digest(one, other)


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes | None:
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    # The decoder skips characters it does not know and ignores the last bits: only the canonical text counts.
    return raw if _encode(raw) == text else None
