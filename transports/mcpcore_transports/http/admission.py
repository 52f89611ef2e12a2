"""Who may come in: the guard of an endpoint, where that endpoint is, and what everybody may know about both."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mcpcore.channel import Origin, Verifier
from mcpcore.errors import LocalProtocolError
from mcpcore.jsonrpc import Batch, Message, Request
from mcpcore.principal import Principal
from mcpcore_transports.framing.addresses import is_loopback_host
from mcpcore_transports.http.options import HttpOptions
from mcpcore_transports.http.replies import refuse
from mcpcore_transports.http.served import Served
from mcpcore_transports.protected.guard import Refusal
from mcpcore_transports.protected.location import Location, Place
from mcpcore_transports.protected.resource import guard_of
from mcpcore_transports.web.exchange import Headers, WebRequest, WebResponse

__all__ = ("METADATA_SECONDS", "Admission", "Caller")

METADATA_SECONDS = 600
"""How long the protected resource metadata may be kept: a changed authorization server is found within minutes."""

_TEXT: Headers = (("content-type", "text/plain; charset=utf-8"),)
_FOR_ALL_PAGES: Headers = (("access-control-allow-origin", "*"),)
_METADATA_HEADERS: Headers = (
    ("content-type", "application/json"),
    ("cache-control", f"public, max-age={METADATA_SECONDS}"),
    *_FOR_ALL_PAGES,
)
_PREFLIGHT_HEADERS: Headers = (
    *_FOR_ALL_PAGES,
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "MCP-Protocol-Version"),
    ("access-control-max-age", str(METADATA_SECONDS)),
)

_NO_PLACE = (
    "tokens are made for the URL of a server, so it has to be known: give --public-url (public_url=), or "
    "Protected(resource=)"
)

logger: logging.Logger = logging.getLogger("mcpcore.auth")


class Caller(NamedTuple):
    """Who sent a request, as far as that was found out."""

    principal: Principal | None
    place: Place | None
    headers: Mapping[str, str]
    """Those of the request that a handler may see."""

    def origin(self, transport: str, verifier: Verifier | None = None) -> Origin:
        return Origin(transport=transport, principal=self.principal, headers=self.headers, verifier=verifier)


class Admission:
    """The door of an application with endpoints at these paths, the first of which is the main one."""

    def __init__(self, server: Served, options: HttpOptions, paths: Sequence[str]) -> None:
        self._server = server
        self._guard = guard_of(options.auth)
        self._location: Location | None = None
        if self._guard is not None and self._guard.needs_place:
            self._location = Location(paths, resource=self._guard.resource, public_url=options.public_url)

    def check_place(self, host: str | None) -> None:
        """Raises `LocalProtocolError` when tokens have to be made for this server, and its URL is neither configured
        nor that of a listener of ours, about to be bound to `host`, on this machine."""
        if self._location is None or self._location.fixed:
            return
        if host is None or not is_loopback_host(host.strip("[]")):
            raise LocalProtocolError(_NO_PLACE)

    def listens_at(self, addresses: Iterable[object], scheme: str = "http") -> None:
        """Say where our listener is bound, as `(host, port)`."""
        if self._location is not None:
            self._location.listens_at(addresses, scheme)

    async def aclose(self) -> None:
        """Let go of what the guard holds. Waits for nobody."""
        if self._guard is not None:
            await self._guard.aclose()

    async def admit(self, request: WebRequest, response: WebResponse, path: str, cors: Headers) -> Caller | None:
        """Who asks at the endpoint `path`; None when the request has been refused."""
        guard = self._guard
        if guard is None:
            return Caller(None, None, request.headers)
        place = None
        if self._location is not None:
            place = self._location.place(path, mount=request.mount, host=request.headers.get("host"))
            if place is None:
                await refuse(response, 421, _NO_PLACE, cors)
                return None
        admitted = await guard.admit(request, place)
        if isinstance(admitted, Refusal):
            await refuse(response, admitted.status, admitted.text, (*admitted.headers, *cors))
            return None
        # A handler has no business with the token: what it calls elsewhere takes a token of its own.
        secret = guard.secret_headers
        shown = {name: value for name, value in request.headers.items() if name not in secret}
        return Caller(admitted, place, shown)

    async def forbids(
        self, request: WebRequest, response: WebResponse, message: Message | Batch, caller: Caller, cors: Headers
    ) -> bool:
        """Refuse a message that needs scopes its sender does not have. All that it needs are named at once."""
        messages = message.messages if isinstance(message, Batch) else (message,)
        needed = frozenset[str]().union(*(self._server.scopes_for(one) for one in messages if isinstance(one, Request)))
        if not needed:
            return False
        if self._guard is None or caller.principal is None:
            logger.error("a tool with scopes was called over HTTP, where nobody grants any: give auth=")
            await refuse(response, 403, "this tool needs scopes, and this server has nobody to grant them", cors)
            return True
        if needed <= caller.principal.scopes:
            return False
        refusal = self._guard.forbid(request, caller.place, needed)
        await refuse(response, refusal.status, refusal.text, (*refusal.headers, *cors))
        return True

    def described_at(self, path: str, mount: str) -> str | None:
        """The endpoint whose metadata is at this path; None when there is none."""
        return None if self._location is None else self._location.endpoint_of(path, mount)

    async def describe(self, request: WebRequest, response: WebResponse, path: str) -> None:
        """Send the metadata of the endpoint `path`: to everybody, from any page (RFC 9728, 3)."""
        document = None
        if self._guard is not None and self._location is not None:
            place = self._location.place(path, mount=request.mount, host=request.headers.get("host"))
            if place is None:
                await refuse(response, 421, _NO_PLACE)
                return
            document = self._guard.metadata(place)
        if document is None:
            await response.send_whole(404, _TEXT, b"there is nothing here\n")
        elif request.method == "OPTIONS":
            await response.send_whole(204, _PREFLIGHT_HEADERS, b"")
        elif request.method in ("GET", "HEAD"):
            await response.send_whole(200, _METADATA_HEADERS, document)
        else:
            await response.send_whole(405, (("allow", "GET, HEAD, OPTIONS"), *_TEXT), b"this can be read with GET\n")
