"""Opaque tokens: what is asked, how often, and what counts when nobody answers."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from transports.scripted_server import Caller, ok
from transports.tokens import RESOURCE, Issuer, issuing

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.protected.introspection import INACTIVE_SECONDS, MAX_ASKING, IntrospectionVerifier
from mcpcore_transports.protected.verifier import TokenRefused, TokenUnknown, VerifierUnavailable

pytestmark = pytest.mark.anyio

RESOURCES = frozenset([RESOURCE])


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """An issuer and a verifier that asks it."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        self.issuer = issuer
        self.clock = clock
        self.made: list[IntrospectionVerifier] = []
        issuer.active["good"] = {
            "sub": "alice",
            "client_id": "editor",
            "scope": "mcp",
            "aud": RESOURCE,
            "exp": clock.now + 300,
            "iss": issuer.url,
        }

    def verifier(self, **options: Any) -> IntrospectionVerifier:
        options = {"client_id": "mcp:1", "client_secret": "s3cret/+", "issuer": self.issuer.url, **options}
        made = IntrospectionVerifier(f"{self.issuer.url}/introspect", now=self.clock, **options)
        self.made.append(made)
        return made


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    async with issuing() as issuer:
        made = Asked(issuer, Clock())
        yield made
        for verifier in made.made:
            await verifier.aclose()


async def test_an_active_token_is_asked_about_once(asked: Asked) -> None:
    verifier = asked.verifier(cache_seconds=30)
    for _ in range(3):
        found = await verifier.verify("good", RESOURCES)
        assert (found.subject, found.client_id, found.scopes) == ("alice", "editor", {"mcp"})
        assert found.issuer == asked.issuer.url
        assert "active" not in found.claims
    assert asked.issuer.forms == [{"token": ["good"], "token_type_hint": ["access_token"]}]
    asked.clock.now += 30
    del asked.issuer.active["good"]
    with pytest.raises(TokenUnknown):
        await verifier.verify("good", RESOURCES)


async def test_a_token_that_is_remembered_still_expires(asked: Asked) -> None:
    verifier = asked.verifier(cache_seconds=3600)
    await verifier.verify("good", RESOURCES)
    asked.clock.now += 331
    with pytest.raises(TokenRefused, match="expired"):
        await verifier.verify("good", RESOURCES)
    assert len(asked.issuer.forms) == 1


async def test_an_unknown_token_is_asked_about_once_in_a_while(asked: Asked) -> None:
    verifier = asked.verifier()
    for _ in range(3):
        with pytest.raises(TokenUnknown):
            await verifier.verify("bad", RESOURCES)
    assert len(asked.issuer.forms) == 1
    asked.clock.now += INACTIVE_SECONDS
    with pytest.raises(TokenUnknown):
        await verifier.verify("bad", RESOURCES)
    assert len(asked.issuer.forms) == 2


async def test_nothing_is_remembered_where_that_is_not_wanted(asked: Asked) -> None:
    verifier = asked.verifier(cache_seconds=0)
    for _ in range(2):
        await verifier.verify("good", RESOURCES)
        with pytest.raises(TokenUnknown):
            await verifier.verify("bad", RESOURCES)
    assert len(asked.issuer.forms) == 4


async def test_many_with_one_token_ask_once(asked: Asked) -> None:
    verifier = asked.verifier()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(verifier.verify, "good", RESOURCES)
    assert len(asked.issuer.forms) == 1


async def test_the_server_says_who_it_is(asked: Asked) -> None:
    await asked.verifier().verify("good", RESOURCES)
    [head] = asked.issuer.heads
    wanted = base64.b64encode(b"mcp%3A1:s3cret%2F%2B")
    assert b"authorization: basic " + wanted.lower() in head
    await asked.verifier(method="post").verify("good", RESOURCES)
    assert asked.issuer.forms[-1]["client_id"] == ["mcp:1"]
    assert asked.issuer.forms[-1]["client_secret"] == ["s3cret/+"]
    assert b"authorization" not in asked.issuer.heads[-1]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"aud": "https://other.example"}, "another server"),
        ({"aud": None}, "no audience"),
        ({"iss": "https://other.example"}, "another issuer"),
        ({"sub": None, "client_id": None}, "no subject"),
        ({"exp": "x"}, "exp is no date"),
        ({"exp": 1}, "expired"),
        ({"nbf": 2_800_000_000}, "not valid"),
    ],
)
async def test_members_are_judged_as_claims_are(asked: Asked, members: dict[str, Any], why: str) -> None:
    said = {**asked.issuer.active["good"], **members}
    asked.issuer.active["good"] = {name: value for name, value in said.items() if value is not None}
    with pytest.raises(TokenRefused, match=why):
        await asked.verifier().verify("good", RESOURCES)


async def test_a_program_that_acts_for_itself_is_its_own_subject(asked: Asked) -> None:
    asked.issuer.active["good"] = {"client_id": "robot", "aud": [RESOURCE]}
    assert (await asked.verifier().verify("good", RESOURCES)).subject == "robot"


async def test_no_audience_where_that_was_said_to_be_safe(asked: Asked) -> None:
    del asked.issuer.active["good"]["aud"]
    verifier = asked.verifier(any_audience=True)
    assert not verifier.needs_resource
    assert (await verifier.verify("good", frozenset())).subject == "alice"


def answering(data: bytes) -> Any:
    async def answer(path: str, caller: Caller) -> None:
        await caller.send(data)

    return answer


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "status 401"),
        (b'HTTP/1.1 400 Bad\r\ncontent-length: 26\r\n\r\n{"error":"invalid_client"}', "status 400"),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 1\r\n\r\n[", "status 400"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "not there"),
        (b"HTTP/1.1 307 Temporary\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n", "redirects"),
        (ok(b"{}"), "does not say"),
        (ok(b'{"active": "true"}'), "does not say"),
        (ok(b'{"active": 1}'), "does not say"),
        (ok(b"<html>"), "no JSON"),
        (b"garbage\r\n\r\n", "cannot be used"),
    ],
)
async def test_an_answer_that_is_none_lets_nobody_in_and_is_not_remembered(asked: Asked, data: bytes, why: str) -> None:
    asked.issuer.answer = answering(data)
    verifier = asked.verifier()
    with pytest.raises(VerifierUnavailable, match=why) as failed:
        await verifier.verify("good", RESOURCES)
    assert "s3cret" not in str(failed.value)
    asked.issuer.answer = None
    assert (await verifier.verify("good", RESOURCES)).subject == "alice"


async def test_a_kind_of_token_that_cannot_be_asked_about_is_no_outage(asked: Asked) -> None:
    """As `oidc-provider` answers for a JWT."""
    body = b'{"error":"unsupported_token_type","error_description":"this kind cannot be introspected"}'
    asked.issuer.answer = answering(b"HTTP/1.1 400 Bad\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    with pytest.raises(TokenUnknown):
        await asked.verifier().verify("a.b.c", RESOURCES)


async def test_nobody_answers(asked: Asked) -> None:
    verifier = IntrospectionVerifier(
        "http://127.0.0.1:1/", client_id="a", client_secret="b", issuer="https://login.example.com"
    )
    with pytest.raises(VerifierUnavailable, match="cannot be reached"):
        await verifier.verify("good", RESOURCES)

    async def silent(path: str, caller: Caller) -> None:
        await caller.closed()

    asked.issuer.answer = silent
    with pytest.raises(VerifierUnavailable, match=r"within 0\.1 seconds"):
        await asked.verifier(timeout=0.1).verify("good", RESOURCES)


async def test_those_who_wait_for_an_answer_share_its_failure(asked: Asked) -> None:
    """Each after the other would wait as long again."""
    at_once, failed = anyio.Event(), []

    async def slow(path: str, caller: Caller) -> None:
        await at_once.wait()
        await caller.send(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n")

    asked.issuer.answer = slow
    verifier = asked.verifier()

    async def show() -> None:
        with pytest.raises(VerifierUnavailable, match="status 500"):
            await verifier.verify("good", RESOURCES)
        failed.append(len(asked.issuer.asked))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(show)
        await anyio.wait_all_tasks_blocked()
        at_once.set()
    assert failed == [1] * 5
    asked.issuer.answer = None
    assert (await verifier.verify("good", RESOURCES)).subject == "alice"


async def test_a_flood_of_made_up_tokens_ends_here(asked: Asked) -> None:
    waiting = anyio.Event()

    async def slow(path: str, caller: Caller) -> bool:
        await waiting.wait()
        return False

    asked.issuer.answer = slow
    verifier = asked.verifier()
    refused: list[str] = []

    async def show(number: int) -> None:
        try:
            await verifier.verify(f"made-up-{number}", RESOURCES)
        except (TokenUnknown, VerifierUnavailable) as error:
            refused.append(type(error).__name__)
            if len(refused) == 20:
                waiting.set()

    async with anyio.create_task_group() as tasks:
        for number in range(MAX_ASKING + 20):
            tasks.start_soon(show, number)
    assert refused == ["VerifierUnavailable"] * 20 + ["TokenUnknown"] * MAX_ASKING
    assert len(asked.issuer.forms) == MAX_ASKING


async def test_what_was_closed_opens_again(asked: Asked) -> None:
    verifier = asked.verifier(cache_seconds=0)
    await verifier.verify("good", RESOURCES)
    await verifier.aclose()
    await verifier.verify("good", RESOURCES)


def test_settings_that_cannot_be() -> None:
    secret: Any = {"client_id": "a", "client_secret": "s3cret", "issuer": "https://login.example.com"}
    wrong: list[tuple[str, Any]] = [
        ("http://login.example.com/", {}),
        ("https://login.example.com/", {"method": "query"}),
    ]
    for url, options in wrong:
        with pytest.raises(LocalProtocolError) as refused:
            IntrospectionVerifier(url, **secret, **options)
        assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(IntrospectionVerifier("https://login.example.com/", **secret))
