"""An authorization server as a protected server sees it: keys, metadata, introspection, and the tokens it signs."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import anyio
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from transports.scripted_server import Caller, ok, serving

__all__ = ("RESOURCE", "Issuer", "issuing", "key_of", "pem_of", "public_jwk", "sign", "without_signature")

RESOURCE = "https://mcp.example.com/mcp"
"""The server that tokens are made for."""

_ALGORITHMS = {"RSA": "RSAAlgorithm", "EC": "ECAlgorithm", "OKP": "OKPAlgorithm"}


@cache
def key_of(kind: str, name: str = "one") -> Any:
    """A private key; the same one for the same name."""
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "weak RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=1024)
    if kind == "OKP":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def public_jwk(key: Any, kid: str | None = "one", **members: Any) -> dict[str, Any]:
    kind = "RSA" if isinstance(key, rsa.RSAPrivateKey) else "EC"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        kind = "OKP"
    found = getattr(jwt.algorithms, _ALGORITHMS[kind]).to_jwk(key.public_key(), as_dict=True)
    return {**found, **({} if kid is None else {"kid": kid}), **members}


def sign(claims: dict[str, Any], key: Any, algorithm: str = "ES256", **header: Any) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"typ": "at+jwt", **header})


def without_signature(token: str) -> str:
    return token.rpartition(".")[0] + "."


class Issuer:
    """What it publishes and says; a test changes the members."""

    def __init__(self, url: str = "https://login.example.com") -> None:
        self.url = url
        self.key = key_of("EC")
        self.published: list[dict[str, Any]] = [public_jwk(self.key)]
        self.asked: list[str] = []
        """The paths that were asked for."""
        self.forms: list[dict[str, list[str]]] = []
        self.heads: list[bytes] = []
        self.active: dict[str, dict[str, Any]] = {}
        """What introspection says, by token."""
        self.answer: Callable[[str, Caller], Any] | None = None
        """Another answer than the usual one: an async function that sends it, or returns False."""

    def claims(self, **claims: Any) -> dict[str, Any]:
        now = time.time()
        found = {
            "iss": self.url,
            "sub": "alice",
            "aud": RESOURCE,
            "client_id": "editor",
            "scope": "mcp",
            "iat": int(now),
            "exp": int(now) + 300,
            **claims,
        }
        return {name: value for name, value in found.items() if value is not None}

    def token(self, *, kid: str | None = "one", key: Any = None, algorithm: str = "ES256", **claims: Any) -> str:
        header = {} if kid is None else {"kid": kid}
        return sign(self.claims(**claims), self.key if key is None else key, algorithm, **header)

    async def serve(self, caller: Caller) -> None:
        while request := await caller.request():
            head, _, body = request.partition(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            self.heads.append(head.lower())
            if self.answer is not None and await self.answer(path, caller) is not False:
                continue
            found: Any = None
            if path == "/jwks":
                found = {"keys": self.published}
            elif path == "/.well-known/oauth-authorization-server":
                found = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
            elif path == "/introspect":
                form = parse_qs(body.decode())
                self.forms.append(form)
                said = self.active.get(form["token"][0])
                found = {"active": False} if said is None else {"active": True, **said}
            if found is None:
                await caller.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            else:
                await caller.send(ok(json.dumps(found).encode(), b"content-type: application/json\r\n"))


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """An issuer that answers on this machine."""
    issuer = Issuer()
    async with serving(issuer.serve) as served:
        issuer.url = f"http://127.0.0.1:{served.port}"
        yield issuer
        await anyio.lowlevel.checkpoint()
