"""Logging a user in: `auth=OAuth()` opens a browser when the server asks for it, and keeps what comes of it."""

import inspect
import webbrowser
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeAlias, Unpack
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore_transports.oauth.access import TokenAuthorization, TokenOptions, as_login_failure
from mcpcore_transports.oauth.assertions import PrivateKey
from mcpcore_transports.oauth.authorization import AuthorizationRequest
from mcpcore_transports.oauth.discovery import Discovered
from mcpcore_transports.oauth.errors import LoginFailed, LoginTimeout, RegistrationFailed, TokenRefused
from mcpcore_transports.oauth.fetching import Fetcher
from mcpcore_transports.oauth.metadata import ServerMetadata
from mcpcore_transports.oauth.redirects import Redirects, open_redirects
from mcpcore_transports.oauth.registration import (
    Registration,
    auth_method,
    check_document_url,
    read_registration,
    registration_refusal,
    registration_request,
)
from mcpcore_transports.oauth.scopes import union, with_offline_access
from mcpcore_transports.oauth.token import Token
from mcpcore_transports.oauth.token_endpoint import TokenEndpoint

__all__ = ("LOGIN_SECONDS", "OAuth", "OpenBrowser", "open_in_browser")

LOGIN_SECONDS = 300.0
"""Seconds that a user has for a login, with a second factor to be fetched from another room."""

OpenBrowser: TypeAlias = Callable[[str], Awaitable[None] | None]
"""Takes the user to a URL. It may wait; it is cancelled when the login is over."""

_JSON = ("content-type", "application/json")


class OAuth(TokenAuthorization):
    """Logs a user in with a browser, when the server asks for it (MCP, authorization; OAuth 2.1 with PKCE).

    client_id, client_secret, private_key
        A client that was registered by hand, and how it authenticates. Used for one issuer only: see `issuer`.
    client_metadata_url
        Where this program's client document is published, https (see `client_document`). Used where the authorization
        server takes such; otherwise a client is registered there.
    client_name
        What a registered client is called, which users are shown.
    redirect_port
        The port of 127.0.0.1 that the browser comes back to; by default any free one.
    open_browser
        Called with the URL to open; by default the system's browser.
    login_seconds
        Seconds that the user has for one login.

    What is registered, and the tokens, go to `storage`. See `TokenOptions` for the rest. When several requests
    need a login, there is one; when the request that it began with is cancelled, another one begins it again. Nothing
    listens when a login is over, however it ended. The login of a connection begins before any deadline runs; one that
    a call needs later is a part of that call and of its timeout.

    Requests fail with `LoginFailed` when there is no token to be had. Raises `LocalProtocolError` for options that
    cannot be meant.
    """

    patient = True

    def __init__(
        self,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        private_key: PrivateKey | None = None,
        client_metadata_url: str | None = None,
        client_name: str = "mcpcore",
        redirect_port: int = 0,
        open_browser: OpenBrowser | None = None,
        login_seconds: float = LOGIN_SECONDS,
        **options: Unpack[TokenOptions],
    ) -> None:
        super().__init__(**options)
        if client_id is None and (client_secret is not None or private_key is not None):
            raise LocalProtocolError("client_secret and private_key belong to a client_id: give it too")
        if client_metadata_url is not None:
            check_document_url(client_metadata_url)
        self._given_client = client_id
        self._client_secret = client_secret
        self._private_key = private_key
        self._document = client_metadata_url
        self._name = client_name
        self._port = redirect_port
        self._open = open_in_browser if open_browser is None else open_browser
        self._seconds = login_seconds

    async def _obtain(
        self, found: Discovered, scopes: Sequence[str], fetcher: Fetcher, endpoint: TokenEndpoint
    ) -> Token:
        server = found.server
        server.check_pkce()
        if self._given_client is not None or self._issuer is not None:
            self._claim_issuer(server.issuer)
        scopes = with_offline_access(scopes, server.scopes_supported)
        known = await self._known_client(server, scopes)
        async with AsyncExitStack() as stack:
            redirects = await self._listen(stack, known)
            client = known
            if client is None or client.redirect_uri not in ("", redirects.uri):
                client = await self._register(server, redirects.uri, union(scopes, found.scopes or ()), fetcher)
            request = AuthorizationRequest(
                server,
                client_id=client.client_id,
                redirect_uri=redirects.uri,
                resource=found.resource,
                scopes=scopes,
                dpop_thumbprint=None if endpoint.dpop is None else endpoint.dpop.thumbprint,
            )
            code = await self._ask_user(request, redirects)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": request.redirect_uri,
            "code_verifier": request.verifier,
            "resource": found.resource,
        }
        try:
            body = await endpoint.ask(form, client, self._key_of(client))
        except TokenRefused as refused:
            if refused.error == "invalid_client" and client is known and self._is_registered(client):
                await self._records.forget_client(client)  # the next login registers another one
            raise
        return endpoint.read(body, client, found.resource, scopes)

    async def _refresh(self, token: Token, endpoint: TokenEndpoint) -> Token | None:
        client = await self._client_of(token)
        if client is None or token.refresh_token is None:
            return None
        form = {"grant_type": "refresh_token", "refresh_token": token.refresh_token, "resource": token.resource}
        try:
            body = await endpoint.ask(form, client, self._key_of(client))
        except TokenRefused as refused:
            if refused.error == "invalid_client" and self._is_registered(client):
                await self._records.forget_client(client)
            raise
        return endpoint.read(body, client, token.resource, token.scopes, token)

    # ------------------------------------------------------------------ the user

    async def _ask_user(self, request: AuthorizationRequest, redirects: Redirects) -> str:
        """The code that the user's consent gives. Raises `LoginTimeout`, and as `AuthorizationRequest.check`."""
        with sole_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._open_browser, request.url)
                with anyio.move_on_after(self._seconds):
                    response = await redirects.wait(request.recognises)
                    code = request.check(response)
                    tasks.cancel_scope.cancel()
                    return code
                tasks.cancel_scope.cancel()
        raise LoginTimeout(
            f"nobody finished the login at {request.issuer} within {self._seconds:g} s; try again, and give "
            "login_seconds if that is too short"
        )

    async def _open_browser(self, url: str) -> None:
        try:
            waiting = self._open(url)
            if inspect.isawaitable(waiting):
                await waiting
        except LoginFailed:
            raise
        except Exception as error:
            raise as_login_failure(error, "open_browser()") from error

    # ------------------------------------------------------------------ the client

    async def _known_client(self, server: ServerMetadata, scopes: Sequence[str]) -> Registration | None:
        """Given by hand, by a document, or registered before: in this order. None when one has to be registered."""
        if self._given_client is not None:
            return self._given(server.issuer, auth_method(server, secret=self._client_secret is not None))
        if self._document is not None and server.client_id_metadata_document_supported:
            return Registration(issuer=server.issuer, client_id=self._document)
        stored = await self._records.client(server.issuer)
        if stored is not None and (stored.scopes is None or set(scopes) <= set(stored.scopes)):
            return stored
        return None

    async def _client_of(self, token: Token) -> Registration | None:
        """The client that a token was issued to; None when it is none of this object's."""
        if self._given_client is not None:
            return self._given(token.issuer, token.auth_method) if token.client_id == self._given_client else None
        if token.client_id == self._document:
            return Registration(issuer=token.issuer, client_id=token.client_id)
        return await self._records.client(token.issuer, token.client_id)

    def _given(self, issuer: str, method: str) -> Registration:
        assert self._given_client is not None
        return Registration(
            issuer=issuer, client_id=self._given_client, client_secret=self._client_secret, method=method
        )

    async def _register(
        self, server: ServerMetadata, redirect_uri: str, scopes: Sequence[str], fetcher: Fetcher
    ) -> Registration:
        """Register, for the scopes of the client before it too: other servers may share the issuer."""
        last = await self._records.client(server.issuer)
        if last is not None and last.scopes is not None:
            scopes = union(scopes, last.scopes)
        asked = registration_request(server, name=self._name, redirect_uri=redirect_uri, scopes=scopes)
        assert server.registration_endpoint is not None
        answer = await fetcher.post(
            server.registration_endpoint,
            f"the registration endpoint of {server.issuer}",
            RegistrationFailed,
            (_JSON,),
            msgspec.json.encode(asked),
        )
        if answer.status not in (200, 201):
            raise registration_refusal(answer.body, answer.status, server.issuer)
        client = read_registration(answer.body, asked, server.issuer)
        await self._records.keep_client(client)
        return client

    def _is_registered(self, client: Registration) -> bool:
        return bool(client.redirect_uri)

    def _key_of(self, client: Registration) -> PrivateKey | None:
        return self._private_key if client.client_id == self._given_client else None

    async def _listen(self, stack: AsyncExitStack, known: Registration | None) -> Redirects:
        """Listen where the browser comes back to: at the port of a client that was registered before, if it is free,
        because some servers insist on it."""
        before = 0 if known is None or not known.redirect_uri else urlsplit(known.redirect_uri).port or 0
        if before and not self._port:
            try:
                return await stack.enter_async_context(open_redirects(before))
            except LoginFailed:
                pass  # somebody else has the port: another client is registered, for another one
        return await stack.enter_async_context(open_redirects(self._port))


async def open_in_browser(url: str) -> None:
    """Open a URL in the system's browser. Raises `LoginFailed` where there is none."""
    # In a thread, because finding a browser starts processes and waits for them; never through a shell.
    opened = await anyio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)
    if not opened:
        raise LoginFailed("there is no browser here to log in with: pass open_browser, which is called with the URL")
