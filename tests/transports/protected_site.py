"""A protected MCP server of 2026-07-28 and its authorization server, on a socket of their own, for a test to bend.

It knows nothing of this library's own HTTP and OAuth code, so that a mistake in one cannot hide in the other.
"""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import anyio
from transports.scripted_mcp import discovered
from transports.scripted_server import PATIENCE_SECONDS, Caller, serving

__all__ = ("PRM", "SECRETS", "Asked", "Page", "ProtectedSite", "Reply", "fetch", "json_page", "protected_site")

PRM = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server"

SECRETS = ("tok-secret", "ref-secret", "code-secret", "client-secret")
"""What every secret that is given out here begins with; beside these there are the verifier and the state."""


class Asked:
    """One request."""

    def __init__(self, whole: bytes) -> None:
        head, _, self.raw = whole.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.verb, self.target, _ = first.split(" ")
        self.path, _, query = self.target.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.raw.decode(), keep_blank_values=True, strict_parsing=True))

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").partition(" ")[2]


class Reply:
    """What is answered; `drip` seconds pass before each byte of the body."""

    def __init__(self, status: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> None:
        self.status = status
        self.body = body
        self.kind = kind
        self.headers = headers

    def encode(self) -> bytes:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"HTTP/1.1 {self.status} X\r\ncontent-type: {self.kind}\r\ncontent-length: {len(self.body)}\r\n{extra}\r\n"
        )
        return head.encode() + self.body


Page = Callable[[Asked], Reply | Awaitable[Reply]]


def json_page(document: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode())


class ProtectedSite:
    """`pages` answers by path; what is there from the beginning is a site that works."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.url = f"{origin}/mcp"
        self.issuer = origin
        self.log: list[Asked] = []
        self.pages: dict[str, Page] = {
            PRM: lambda asked: json_page(self.resource),
            METADATA: lambda asked: json_page(self.metadata),
            "/register": self.register,
            "/authorize": self.authorize,
            "/token": self.token,
            "/mcp": self.mcp,
        }
        self.resource: dict[str, Any] = {"resource": self.url, "authorization_servers": [origin]}
        self.metadata: dict[str, Any] = {
            "issuer": origin,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "registration_endpoint": f"{origin}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.challenge: dict[str, str] = {"resource_metadata": f"{origin}{PRM}", "scope": "read"}
        self.needed: dict[str, str] = {}
        """A scope that a JSON-RPC method needs besides a token."""
        self.granted: dict[str, str] = {}
        """The scopes of each access token that is good."""
        self.refreshable: set[str] = set()
        self.expires_in: Any = 3600
        self.refreshes = True
        self.answer: dict[str, str] = {}
        """Added to each redirect; what is "" is left out of it."""
        self.members: dict[str, Any] = {}
        """Put into each token response; what is None is left out of it."""
        self.bearers: list[str] = []
        """What the MCP server was sent, in order."""
        self._codes: dict[str, dict[str, str]] = {}
        self._count = 0

    def seen(self, path: str) -> list[Asked]:
        return [asked for asked in self.log if asked.path == path]

    def __str__(self) -> str:
        return " ".join(f"{asked.verb} {asked.path}" for asked in self.log)

    async def __call__(self, asked: Asked) -> Reply:
        self.log.append(asked)
        page = self.pages.get(asked.path)
        if page is None:
            return Reply(404, b"not found", "text/plain")
        made = page(asked)
        return made if isinstance(made, Reply) else await made

    # -- the authorization server

    def register(self, asked: Asked) -> Reply:
        self._count += 1
        return json_page({"client_id": f"client-{self._count}", **asked.json}, 201)

    def authorize(self, asked: Asked) -> Reply:
        self._count += 1
        code = f"code-secret-{self._count}"
        self._codes[code] = asked.query
        answer = {"code": code, "state": asked.query["state"], "iss": self.issuer, **self.answer}
        back = urlencode({name: value for name, value in answer.items() if value})
        return Reply(302, location=f"{asked.query['redirect_uri']}?{back}")

    def token(self, asked: Asked) -> Reply:
        form = asked.form
        if form["grant_type"] == "authorization_code":
            begun = self._codes.pop(form["code"])
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == begun["code_challenge"]
            assert (form["redirect_uri"], form["resource"]) == (begun["redirect_uri"], begun["resource"])
            return self.issue(begun.get("scope", ""))
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refreshable:
                return json_page({"error": "invalid_grant"}, 400)
            self.refreshable.remove(form["refresh_token"])
            return self.issue("read")
        return self.issue(form.get("scope", ""))

    def issue(self, scope: str) -> Reply:
        self._count += 1
        token, refresh = f"tok-secret-{self._count}", f"ref-secret-{self._count}"
        self.granted[token] = scope
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in}
        if self.refreshes:
            self.refreshable.add(refresh)
            answer["refresh_token"] = refresh
        answer |= self.members
        return json_page({name: value for name, value in answer.items() if value is not None})

    def revoke(self) -> None:
        """No access token is good any more."""
        self.granted.clear()

    # -- the MCP server

    def refuse(self, status: int = 401, **parameters: str) -> Reply:
        quoted = ", ".join(f'{name}="{value}"' for name, value in {**self.challenge, **parameters}.items())
        return Reply(status, b"{}", www_authenticate=f"Bearer {quoted}")

    def mcp(self, asked: Asked) -> Reply:
        self.bearers.append(asked.headers.get("authorization", ""))
        if asked.token not in self.granted:
            return self.refuse()
        message = asked.json
        method = message["method"]
        needed = self.needed.get(method)
        if needed is not None and needed not in self.granted[asked.token].split():
            return self.refuse(403, error="insufficient_scope", scope=needed)
        results: dict[str, Any] = {
            "server/discover": discovered(),
            "tools/list": {"tools": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"},
            "tools/call": {"content": [{"type": "text", "text": "done"}], "resultType": "complete"},
        }
        if method not in results:
            return json_page({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}, 404)
        return json_page({"jsonrpc": "2.0", "id": message["id"], "result": results[method]})

    # -- the browser

    async def browse(self, url: str) -> None:
        """A user who agrees to everything at once."""
        response = await fetch(url)
        await fetch(response.headers["location"])


@asynccontextmanager
async def protected_site(patience: float = PATIENCE_SECONDS) -> AsyncIterator[ProtectedSite]:
    """A site on a port of its own, for a test that takes no more than `patience` seconds."""
    site: ProtectedSite

    async def script(caller: Caller) -> None:
        while whole := await caller.request():
            reply = await site(Asked(whole))
            await caller.send(reply.encode())

    async with serving(script, patience=patience) as served:
        site = ProtectedSite(f"http://127.0.0.1:{served.port}")
        yield site


class Fetched:
    """The answer to a request of `fetch`."""

    def __init__(self, whole: bytes) -> None:
        head, _, self.body = whole.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1]) if first else 0
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def fetch(url: str, *, verb: str = "GET", **headers: str) -> Fetched:
    """One request of a browser. A status of 0 says that nobody answered."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    extra = "".join(
        f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"host": parts.netloc, **headers}.items()
    )
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    async with await anyio.connect_tcp(parts.hostname, parts.port or 80) as stream:
        whole = b""
        try:
            await stream.send(f"{verb} {target} HTTP/1.1\r\n{extra}\r\n".encode())
            while not _whole(whole):
                whole += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    return Fetched(whole)


def _whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if end and line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False
