"""Keys that an issuer publishes: when they are fetched, how often, and what a bad issuer can do with that."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from transports.scripted_server import Caller, ok
from transports.tokens import RESOURCE, Issuer, issuing, key_of, public_jwk

from mcpcore_transports.protected.fetching import Fetcher
from mcpcore_transports.protected.jwks import (
    FRESH_SECONDS,
    MAX_KEYS,
    RETRY_SECONDS,
    STALE_SECONDS,
    UNKNOWN_SECONDS,
    KeySet,
    RemoteKeys,
)
from mcpcore_transports.protected.jwt_verifier import JwtVerifier
from mcpcore_transports.protected.verifier import TokenRefused, VerifierUnavailable
from mcpcore_transports.web.fetching import FETCH_BYTES

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mcpcore")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        yield made


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def remote(issuer: Issuer, clock: Clock | None = None, *, url: str | None = "", seconds: float = 5.0) -> RemoteKeys:
    where = f"{issuer.url}/jwks" if url == "" else url
    return RemoteKeys(issuer.url, where, Fetcher(where or issuer.url, seconds=seconds), clock=clock or Clock())


async def test_keys_are_fetched_once_and_again_when_they_are_old(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    for _ in range(3):
        assert len(await keys.find("ES256", "one")) == 1
    assert len(await keys.find("ES256", None)) == 1
    assert await keys.find("RS256", "one") == []  # which is not an unknown kid's fault, and counted once
    asked = len(issuer.asked)
    clock.now += FRESH_SECONDS
    await keys.find("ES256", "one")
    assert len(issuer.asked) == asked + 1


async def test_a_rotated_key_is_found_and_the_old_one_forgotten(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    await keys.find("ES256", "one")
    issuer.published = [public_jwk(key_of("EC", "second"), "two")]
    clock.now += UNKNOWN_SECONDS
    assert len(await keys.find("ES256", "two")) == 1
    clock.now += UNKNOWN_SECONDS
    assert await keys.find("ES256", "one") == []


async def test_a_storm_of_unknown_keys_causes_one_fetch(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    await keys.find("ES256", "one")
    clock.now += UNKNOWN_SECONDS
    found: list[list[Any]] = []

    async def ask(number: int) -> None:
        found.append(await keys.find("ES256", f"made-up-{number}"))

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(ask, number)
    for number in range(200):
        found.append(await keys.find("ES256", f"later-{number}"))
    assert found == [[]] * 400
    assert issuer.asked == ["/jwks"] * 2


async def test_keys_without_names_rotate_too(issuer: Issuer) -> None:
    clock = Clock()
    issuer.published = [public_jwk(issuer.key, None)]
    verifier = JwtVerifier(issuer.url, jwks_uri=f"{issuer.url}/jwks")
    verifier._remote = remote(issuer, clock)
    resources = frozenset([RESOURCE])
    assert (await verifier.verify(issuer.token(kid=None), resources)).subject == "alice"
    issuer.key = key_of("EC", "second")
    issuer.published = [public_jwk(issuer.key, None)]
    with pytest.raises(TokenRefused):  # it was fetched a moment ago
        await verifier.verify(issuer.token(kid=None), resources)
    clock.now += UNKNOWN_SECONDS
    assert (await verifier.verify(issuer.token(kid=None), resources)).subject == "alice"
    assert issuer.asked == ["/jwks"] * 2


async def test_many_who_come_first_cause_one_fetch(issuer: Issuer) -> None:
    keys = remote(issuer)
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(keys.find, "ES256", "one")
    assert issuer.asked == ["/jwks"]


async def test_when_the_one_who_fetches_leaves_another_one_does(issuer: Issuer) -> None:
    asked, go = anyio.Event(), anyio.Event()

    async def slow(path: str, caller: Caller) -> bool:
        if len(issuer.asked) == 1:
            asked.set()
            await go.wait()
        return False

    issuer.answer = slow
    keys = remote(issuer)
    found: list[int] = []

    async def second() -> None:
        found.append(len(await keys.find("ES256", "one")))

    async with anyio.create_task_group() as tasks:
        leaving = anyio.CancelScope()

        async def first() -> None:
            with leaving:
                await keys.find("ES256", "one")

        tasks.start_soon(first)
        await asked.wait()
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        leaving.cancel()
        go.set()
    assert found == [1]
    assert issuer.asked == ["/jwks"] * 2


async def test_an_issuer_that_is_down_is_left_alone_for_a_while_and_old_keys_go_on(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)

    async def down(path: str, caller: Caller) -> None:
        await caller.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")

    issuer.answer = down
    for _ in range(3):
        with pytest.raises(VerifierUnavailable, match="503"):
            await keys.find("ES256", "one")
    assert len(issuer.asked) == 1
    issuer.answer = None
    clock.now += RETRY_SECONDS
    assert len(await keys.find("ES256", "one")) == 1
    issuer.answer = down
    clock.now += STALE_SECONDS - 1
    assert len(await keys.find("ES256", "one")) == 1
    clock.now += RETRY_SECONDS
    with pytest.raises(VerifierUnavailable):
        await keys.find("ES256", "one")


async def test_an_issuer_that_hangs_stops_one_request_and_not_all(issuer: Issuer) -> None:
    clock, asked, over = Clock(), anyio.Event(), anyio.Event()
    keys = remote(issuer, clock)
    await keys.find("ES256", "one")

    async def hanging(path: str, caller: Caller) -> bool:
        asked.set()
        await over.wait()
        return False

    issuer.answer = hanging
    clock.now += FRESH_SECONDS
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keys.find, "ES256", "one")
        with anyio.fail_after(5):
            await asked.wait()
            assert len(await keys.find("ES256", "one")) == 1
            assert not over.is_set()
        over.set()


async def html(path: str, caller: Caller) -> None:
    await caller.send(ok(b"<html>log in</html>", b"content-type: text/html\r\n"))


async def large(path: str, caller: Caller) -> None:
    await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n" + b"[" * 100_000)


async def endless(path: str, caller: Caller) -> None:
    await caller.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(FETCH_BYTES // 65536 + 2):
        await caller.send(b"10000\r\n" + b" " * 65536 + b"\r\n")


async def silent(path: str, caller: Caller) -> None:
    await caller.closed()


async def stalling(path: str, caller: Caller) -> None:
    await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n ")
    await caller.closed()


async def redirecting(path: str, caller: Caller) -> None:
    await caller.send(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/jwks\r\ncontent-length: 0\r\n\r\n")


async def hanging_up(path: str, caller: Caller) -> None:
    await caller.stream.aclose()


async def nested(path: str, caller: Caller) -> None:
    await caller.send(ok(b'{"keys":' + b"[" * 100_000))


async def no_list(path: str, caller: Caller) -> None:
    await caller.send(ok(b'{"keys": {"a": 1}}'))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (html, "no JSON object .*text/html"),
        (large, "more than"),
        (endless, "more than"),
        (silent, r"within 0\.1 seconds"),
        (stalling, r"within 0\.1 seconds"),
        (redirecting, "redirects are not followed"),
        (hanging_up, "cannot be reached"),
        (nested, "no JSON object"),
        (no_list, "no list of keys"),
    ],
)
async def test_what_is_no_key_set(issuer: Issuer, answer: Any, why: str) -> None:
    issuer.answer = answer
    seconds = 0.1 if answer in (silent, stalling) else 5.0
    with pytest.raises(VerifierUnavailable, match=why):
        await remote(issuer, seconds=seconds).find("ES256", "one")
    assert issuer.asked == ["/jwks"]


async def test_a_port_that_nobody_listens_on(issuer: Issuer) -> None:
    with pytest.raises(VerifierUnavailable, match="cannot be reached"):
        await remote(issuer, url="http://127.0.0.1:1/jwks").find("ES256", "one")


# -- metadata of the issuer ------------------------------------------------------------------------------------------


async def test_the_key_set_is_found_by_the_metadata(issuer: Issuer) -> None:
    keys = remote(issuer, url=None)
    assert len(await keys.find("ES256", "one")) == 1
    assert issuer.asked == ["/.well-known/oauth-authorization-server", "/jwks"]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": "https://evil.example/jwks"}, "another's"),
        ({"issuer": None}, "names no usable key set"),
        ({"issuer": None, "jwks_uri": "http://10.0.0.1/jwks"}, "https"),
        ({"issuer": None, "jwks_uri": "file:///etc/passwd"}, "no usable key set"),
        ({"issuer": None, "jwks_uri": ["x"]}, "no usable key set"),
        ({"issuer": None, "jwks_uri": "https://10.0.0.1/jwks"}, "leads to a private address"),
        ({"issuer": None, "jwks_uri": "https://169.254.169.254/latest"}, "leads to a private address"),
        ({"issuer": None, "jwks_uri": "https://[::ffff:10.0.0.1]/"}, "leads to a private address"),
        ({"issuer": None, "jwks_uri": "https://2130706433/"}, "leads to a private address"),
    ],
)
async def test_metadata_that_lies_or_points_inward(issuer: Issuer, document: dict[str, Any], why: str) -> None:
    import json

    said = {**document, "issuer": document["issuer"] or issuer.url}

    async def lying(path: str, caller: Caller) -> None:
        await caller.send(ok(json.dumps(said).encode()))

    issuer.answer = lying
    with pytest.raises(VerifierUnavailable, match=why):
        await remote(issuer, url=None).find("ES256", "one")


async def test_only_a_url_of_this_machine_leads_to_it(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = anyio.getaddrinfo

    async def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        return await looked_up("127.0.0.1" if host == "keys.example" else host, *rest, **options)

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    what, here = "the key set", f"{issuer.url}/jwks"
    for named, allowed in (
        ("https://login.example", False),
        ("https://localhost.", False),
        ("http://localhost:1", True),
        (issuer.url, True),
    ):
        for url in (here, here.replace("127.0.0.1", "localhost")):
            if allowed:
                assert "keys" in await Fetcher(named).get(url, what)
            else:
                with pytest.raises(VerifierUnavailable, match="to this machine"):
                    await Fetcher(named).get(url, what)
        # A name that only resolves to this machine is none of its names.
        with pytest.raises(VerifierUnavailable, match="to this machine"):
            await Fetcher(named).get(here.replace("127.0.0.1", "keys.example"), what)
    assert "keys" in await Fetcher("https://login.example", allow_private=True).get(here, what)


async def test_allowing_private_addresses_allows_no_link_local_ones() -> None:
    for url in ("http://169.254.169.254/latest", "https://[fe80::1]/", "https://0.0.0.0/"):
        with pytest.raises(VerifierUnavailable, match="leads to a private address"):
            await Fetcher("https://login.example", allow_private=True).get(url, "the key set")


async def test_an_issuer_without_metadata(issuer: Issuer) -> None:
    async def nothing(path: str, caller: Caller) -> None:
        await caller.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    issuer.answer = nothing
    with pytest.raises(VerifierUnavailable, match="jwks_uri="):
        await remote(issuer, url=None).find("ES256", "one")
    assert issuer.asked == ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


# -- one set ---------------------------------------------------------------------------------------------------------


def test_what_is_of_no_use_is_left_out() -> None:
    good = public_jwk(key_of("EC"))
    oct_key = {"kty": "oct", "k": "AAAA", "kid": "s", "alg": "HS256"}
    found = KeySet([None, "x", {}, oct_key, {**good, "use": "enc"}, {**good, "crv": "P-999"}, {**good, "crv": 7}, good])
    assert len(found) == 1
    assert len(KeySet([good] * (MAX_KEYS + 50))) == MAX_KEYS
    assert found.find("HS256", "s") == []


def test_a_damaged_key_spoils_no_other() -> None:
    good = public_jwk(key_of("EC"))
    found = KeySet([{**good, "x": "AAAA"}, {**good, "y": 7}, good])
    assert len(found.find("ES256", "one")) == 1
