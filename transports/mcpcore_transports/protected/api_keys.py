"""Keys that a server was given itself: for programs on one machine or in one team, without an authorization server."""

import hmac
import os
import re
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Self

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal, scope_set
from mcpcore_transports.protected.verifier import TokenUnknown, TokenVerifier

__all__ = ("MIN_KEY_CHARACTERS", "ApiKeys")

MIN_KEY_CHARACTERS = 16
"""Shorter keys can be guessed. `python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes a good one."""

_KEY = re.compile(r"[\x21-\x7e]+")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]*")


class ApiKeys(TokenVerifier):
    """Accepts these keys, each of which stands for a subject.

    keys
        By subject: the key, or `sha256:` and the hexadecimal hash of it, so that the key itself is written nowhere.
    scopes
        By subject, what it may do beside being here; those that are not named have no scopes.
    header
        Where the key is sent, if not in `Authorization: Bearer KEY`, e.g. "X-API-Key".

    Only hashes are kept, and every key is compared with all of them in constant time. Raises `LocalProtocolError` for
    keys that are short, that two subjects share, or that no header can carry.
    """

    def __init__(
        self,
        keys: Mapping[str, str],
        *,
        scopes: Mapping[str, Iterable[str]] | None = None,
        header: str | None = None,
    ) -> None:
        if not keys:
            raise LocalProtocolError("there is no key, so nobody could come in")
        self.header: str | None = None if header is None else header.lower()
        if self.header is not None and (not _HEADER.fullmatch(self.header) or self.header in ("authorization", "dpop")):
            raise LocalProtocolError(f"{header!r} is no name of a header for keys, as X-API-Key is")
        granted = {subject: scope_set(names) for subject, names in (scopes or {}).items()}
        if strangers := sorted(granted.keys() - keys.keys()):
            raise LocalProtocolError(f"scopes are given to {', '.join(strangers)}, who has no key")
        self._known: list[tuple[bytes, Principal]] = []
        for subject, key in keys.items():
            principal = Principal(subject=subject, scopes=granted.get(subject, frozenset()))
            self._known.append((_hash_of(subject, key), principal))
        if len({known for known, _ in self._known}) < len(self._known):
            raise LocalProtocolError("two subjects have the same key")

    def __repr__(self) -> str:
        return f"<ApiKeys of {len(self._known)} subjects>"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, header: str | None = None) -> Self:
        """Read `SUBJECT KEY [SCOPE …]` from the lines of a file; empty ones and those with # in front do not count.

        Raises `LocalProtocolError`, which names the line and nothing that is in it.
        """
        keys: dict[str, str] = {}
        scopes: dict[str, list[str]] = {}
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise LocalProtocolError(f"the keys in {os.fspath(path)} cannot be read: {reason}") from None
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) < 2:
                raise LocalProtocolError(f"{os.fspath(path)}, line {number}: it takes SUBJECT KEY [SCOPE …]")
            if words[0] in keys:
                raise LocalProtocolError(f"{os.fspath(path)}, line {number}: this subject has a key already")
            try:
                _hash_of(*words[:2])
                scope_set(words[2:])
            except LocalProtocolError:  # it quotes a word, which may be a key where two words changed places
                raise LocalProtocolError(
                    f"{os.fspath(path)}, line {number}: it takes SUBJECT KEY [SCOPE …], with a key of at least "
                    f"{MIN_KEY_CHARACTERS} printable ASCII characters or its hash"
                ) from None
            keys[words[0]], scopes[words[0]] = words[1], words[2:]
        return cls(keys, scopes=scopes, header=header)

    async def verify(self, token: str, resources: Collection[str]) -> Principal:
        shown = sha256(token.encode("utf-8", "surrogatepass")).digest()
        found: Principal | None = None
        for known, principal in self._known:  # all of them, so that the time says nothing about which
            if hmac.compare_digest(known, shown):
                found = principal
        if found is None:
            raise TokenUnknown("it is none of the API keys")
        return found


def _hash_of(subject: str, key: str) -> bytes:
    hashed = _HASH.fullmatch(key)
    if hashed is not None:
        return bytes.fromhex(hashed[1])
    if key.startswith("sha256:"):
        raise LocalProtocolError(f"the key of {subject!r} is no hash: sha256: and 64 lower-case hexadecimal digits")
    if len(key) < MIN_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise LocalProtocolError(
            f"the key of {subject!r} has to have at least {MIN_KEY_CHARACTERS} printable ASCII characters"
        )
    return sha256(key.encode("ascii")).digest()
