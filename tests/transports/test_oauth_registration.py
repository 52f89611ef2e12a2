"""How a client gets to be known to an authorization server, and says at its token endpoint who it is."""

import base64
from typing import Any

import msgspec
import pytest

from mcpcore import LocalProtocolError
from mcpcore_transports.oauth.authentication import authenticate
from mcpcore_transports.oauth.errors import RegistrationFailed
from mcpcore_transports.oauth.metadata import ServerMetadata
from mcpcore_transports.oauth.registration import (
    Registration,
    auth_method,
    client_document,
    read_registration,
    registration_refusal,
    registration_request,
)

ISSUER = "https://login.example"


def server(**members: Any) -> ServerMetadata:
    return ServerMetadata(issuer=ISSUER, registration_endpoint=f"{ISSUER}/register", **members)


def request(**members: Any) -> dict[str, Any]:
    return registration_request(
        server(**members), name="tests", redirect_uri="http://127.0.0.1:1/callback", scopes=("a",)
    )


def test_what_is_registered() -> None:
    assert request() == {
        "client_name": "tests",
        "redirect_uris": ["http://127.0.0.1:1/callback"],
        "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "a",
    }
    assert request(grant_types_supported=["authorization_code"])["grant_types"] == ["authorization_code"]


@pytest.mark.parametrize(
    ("supported", "method", "with_secret"),
    [
        (None, "none", "client_secret_basic"),
        (["none", "client_secret_post"], "none", "client_secret_post"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic", "client_secret_basic"),
        (["client_secret_post"], "client_secret_post", "client_secret_post"),
        (["private_key_jwt"], "client_secret_basic", "client_secret_basic"),
    ],
)
def test_how_it_will_authenticate(supported: list[str] | None, method: str, with_secret: str) -> None:
    assert request(token_endpoint_auth_methods_supported=supported)["token_endpoint_auth_method"] == method
    listed = server(token_endpoint_auth_methods_supported=supported)
    assert (auth_method(listed, secret=True), auth_method(listed, secret=False)) == (with_secret, "none")


def test_what_the_server_answers_counts() -> None:
    answer = {
        "client_id": "x",
        "client_secret": "secret",
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "b",
    }
    client = read_registration(msgspec.json.encode(answer), request(), ISSUER)
    assert (client.client_id, client.method, client.scopes) == ("x", "client_secret_post", ("b",))
    assert client.redirect_uri == "http://127.0.0.1:1/callback"
    assert "secret'" not in repr(client)
    assert read_registration(b'{"client_id": "x"}', request(), ISSUER).scopes == ("a",)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"client_id": 5}',
        b'{"client_id": "x", "token_endpoint_auth_method": "client_secret_basic"}',
    ],
)
def test_what_is_no_registration(answer: bytes) -> None:
    with pytest.raises(RegistrationFailed, match="pass it as client_id"):
        read_registration(answer, request(), ISSUER)


def test_refusals() -> None:
    assert "(too long); register one" in str(
        registration_refusal(b'{"error":"x","error_description":"too long"}', 400, ISSUER)
    )
    assert "HTTP 403" in str(registration_refusal(b"", 403, ISSUER))


@pytest.mark.parametrize("url", ["https://a.example/client.json", "https://a.example:8443/x?y"])
def test_a_document_to_publish(url: str) -> None:
    document = client_document(url, name="tests")
    assert document["client_id"] == url
    assert document["redirect_uris"] == ["http://127.0.0.1/callback", "http://localhost/callback"]
    assert client_document(url, name="x", redirect_uris=["https://b.example/"])["redirect_uris"] == [
        "https://b.example/"
    ]


@pytest.mark.parametrize(
    "url",
    ["http://a.example/c", "https://a.example", "https://a.example/", "https://a.example/c#x", "https://u@a.example/c",
     "https://a.example/../c", "https:///c", "https://[/c", "c"],
)  # fmt: skip
def test_where_no_document_may_be(url: str) -> None:
    with pytest.raises(LocalProtocolError, match="https URL with a path"):
        client_document(url, name="tests")


# -- at the token endpoint -------------------------------------------------------------------------------------------


def client(method: str, secret: str | None = "p%w:d") -> Registration:
    return Registration(issuer=ISSUER, client_id="a b", client_secret=secret, method=method)


def test_basic_encodes_both_before_it_joins_them() -> None:
    form, [(name, value)] = authenticate({"x": "y"}, client("client_secret_basic"))
    assert (form, name) == ({"x": "y", "client_id": "a b"}, "authorization")
    assert base64.b64decode(value.removeprefix("Basic ")) == b"a+b:p%25w%3Ad"


def test_post_and_none() -> None:
    assert authenticate({}, client("client_secret_post")) == ({"client_id": "a b", "client_secret": "p%w:d"}, [])
    assert authenticate({}, client("none")) == ({"client_id": "a b"}, [])
    assert authenticate({}, Registration(issuer=ISSUER, client_id="")) == ({}, [])
