"""What is kept in a storage, typed: the token of a server, and the client that was registered at an issuer."""

import hashlib
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from mcpcore_transports.framing.wellknown import origin_of
from mcpcore_transports.oauth.errors import StorageFailed
from mcpcore_transports.oauth.registration import Registration
from mcpcore_transports.oauth.storage import Storage
from mcpcore_transports.oauth.token import Token

__all__ = ("Records",)

T = TypeVar("T", bound=msgspec.Struct)


class _Place(msgspec.Struct):
    """Which token is a server's."""

    issuer: str
    resource: str
    client_id: str

    @property
    def key(self) -> str:
        return f"token {self.issuer} {self.resource} {self.client_id}"


class Records:
    """The records in one storage. Each method raises `StorageFailed`; a record that cannot be read is none."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def token(self, server: str) -> Token | None:
        """The token of the server at this URL."""
        place = await self._get(_server_key(server), _Place)
        token = None if place is None else await self._get(place.key, Token)
        # A record that was moved must not be sent elsewhere than it says itself.
        return token if token is not None and _place(token) == place else None

    async def keep_token(self, server: str, token: Token) -> None:
        place = _place(token)
        await self._set(place.key, token)
        await self._set(_server_key(server), place)

    async def forget_token(self, server: str) -> None:
        place = await self._get(_server_key(server), _Place)
        if place is not None:
            await self._delete(place.key)
            await self._delete(_server_key(server))

    async def client(self, issuer: str, client_id: str | None = None) -> Registration | None:
        """The client that was registered at this issuer: this one, or the last."""
        found = await self._get(_client_key(issuer, client_id), Registration)
        wanted = found is not None and found.issuer == issuer and client_id in (None, found.client_id)
        return found if wanted else None

    async def keep_client(self, client: Registration) -> None:
        """Keep it beside those before it, which have tokens that they alone can refresh."""
        await self._set(_client_key(client.issuer, client.client_id), client)
        await self._set(_client_key(client.issuer), client)

    async def forget_client(self, client: Registration) -> None:
        await self._delete(_client_key(client.issuer, client.client_id))
        if await self.client(client.issuer) == client:
            await self._delete(_client_key(client.issuer))

    async def _get(self, key: str, kind: type[T]) -> T | None:
        try:
            value = await self._storage.get(key)
        except StorageFailed:
            raise
        except Exception as error:
            raise _failed("read from", error) from error
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=kind)
        except (msgspec.DecodeError, RecursionError):
            return None

    async def _set(self, key: str, value: msgspec.Struct) -> None:
        try:
            await self._storage.set(key, msgspec.json.encode(value))
        except StorageFailed:
            raise
        except Exception as error:
            raise _failed("written to", error) from error

    async def _delete(self, key: str) -> None:
        try:
            await self._storage.delete(key)
        except StorageFailed:
            raise
        except Exception as error:
            raise _failed("deleted from", error) from error


def _server_key(server: str) -> str:
    """A URL with a query or user information is told apart by a hash of it: these may be secrets."""
    parts = urlsplit(server)
    mark = f"#{hashlib.sha256(server.encode()).hexdigest()[:16]}" if parts.query or "@" in parts.netloc else ""
    return f"server {origin_of(server)}{parts.path}{mark}"


def _client_key(issuer: str, client_id: str | None = None) -> str:
    return f"client {issuer}" if client_id is None else f"client {issuer} {client_id}"


def _place(token: Token) -> _Place:
    return _Place(token.issuer, token.resource, token.client_id)


def _failed(what: str, error: Exception) -> StorageFailed:
    return StorageFailed(f"the storage of tokens cannot be {what} ({type(error).__name__}); see its own error")
