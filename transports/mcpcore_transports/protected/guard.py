"""Whatever decides at the door of an endpoint: a `Principal` for who may come in, a `Refusal` for everybody else."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple, TypeAlias

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal
from mcpcore_transports.framing.challenges import challenge
from mcpcore_transports.protected.location import Place
from mcpcore_transports.web.exchange import Headers, WebRequest

__all__ = ("Authenticate", "FunctionGuard", "Guard", "Refusal", "insufficient")

Authenticate: TypeAlias = Callable[[WebRequest], Awaitable[Principal | str | None]]
"""Who sent a request: a principal or its subject alone, or None to refuse it with 401. Raises nothing: whoever cannot
tell says None."""


class Refusal(NamedTuple):
    """An HTTP response instead of an answer. The text is for the client, so it says nothing about a token."""

    status: int
    text: str
    headers: Headers = ()


class Guard(ABC):
    """Who may use a server over HTTP. One guard serves any number of endpoints."""

    needs_place: bool = False
    """Whether it has to know where the server is, because tokens are made for a place."""

    resource: str | None = None
    """The resource identifier, if it is configured here and not by `public_url`."""

    @property
    def secret_headers(self) -> frozenset[str]:
        """Request headers (lower case) that hold credentials, which handlers are not shown."""
        return frozenset(("authorization", "dpop"))

    @abstractmethod
    async def admit(self, request: WebRequest, place: Place | None) -> Principal | Refusal:
        """Find out who sent a request."""

    @abstractmethod
    def forbid(self, request: WebRequest, place: Place | None, scopes: Collection[str]) -> Refusal:
        """What a caller is told who lacks some of these scopes, which are all that the request needs beside what every
        request does."""

    def metadata(self, place: Place) -> bytes | None:
        """The protected resource metadata (RFC 9728, 2) as JSON; None when there is none to publish."""
        return None

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of connections. Called when the server stops."""


class FunctionGuard(Guard):
    """An async function of the application as a guard: the lowest form of `auth=`."""

    def __init__(self, fn: Any) -> None:
        self._fn: Authenticate = fn
        if not callable(fn):
            raise LocalProtocolError(
                "auth= is a Protected, a TokenVerifier, or an async function from a request to a Principal, a name or "
                f"None; this is a {type(fn).__name__}"
            )

    async def admit(self, request: WebRequest, place: Place | None) -> Principal | Refusal:
        found = await self._fn(request)
        if found is None:
            text = "this server wants to know who is asking: send a bearer token"
            return Refusal(401, text, (("www-authenticate", challenge()),))
        if isinstance(found, str):
            return Principal(subject=found)
        if not isinstance(found, Principal):
            raise LocalProtocolError(f"auth= returned a {type(found).__name__}: a Principal, a name or None is wanted")
        return found

    def forbid(self, request: WebRequest, place: Place | None, scopes: Collection[str]) -> Refusal:
        said = (("www-authenticate", challenge(error="insufficient_scope", scopes=scopes)),)
        return insufficient(said, scopes)


def insufficient(said: Headers, scopes: Collection[str]) -> Refusal:
    """403, in words and by these challenges (RFC 6750, 3.1)."""
    return Refusal(403, f"this needs a token with the scopes {' '.join(sorted(scopes))}", said)
