"""http/failures: what an HTTP status says to a caller, and what it must not say."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from transports.scripted_mcp import Asked, answering

from mcpcore.errors import ConnectFailed, ConnectionLost, DeadlineExceeded, LocalProtocolError, RemoteProtocolError
from mcpcore_transports.http import failures
from mcpcore_transports.http.failures import HttpError, HttpRefused, connection_errors, read_refusal
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.exchange import BodyTooLarge

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def refusal(answer: Callable[[Asked], Awaitable[None]], *, harmless: bool = False) -> HttpError:
    async with answering(answer) as served, HttpClient(trust_env=False) as client:
        async with client.request("GET", served.url) as response:
            return await read_refusal(response, harmless=harmless)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", ""),
        (b"\r\n\r\n  why\r\nmore", "why"),
        (b"a\x1b[31mb\x00c", "a [31mb c"),
        (b"\xff\xfe", "��"),
        (b"x" * 1000, "x" * 200),
    ],
)
async def test_the_first_line_is_shown_as_plain_text(body: bytes, line: str) -> None:
    found = await refusal(lambda asked: asked.status(418, body))
    assert (found.status, found.line) == (418, line)
    assert str(found) == (f"HTTP 418: {line}" if line else "HTTP 418")


@pytest.mark.parametrize(
    ("status", "harmless", "refused"),
    [(302, False, True), (400, False, True), (429, False, True), (500, False, False), (502, True, True)],
)
async def test_what_a_gateway_says_does_not_mean_that_nothing_was_done(
    status: int, harmless: bool, refused: bool
) -> None:
    found = await refusal(lambda asked: asked.status(status), harmless=harmless)
    assert isinstance(found, HttpRefused) is refused
    assert isinstance(found, ConnectFailed) is refused
    assert isinstance(found, ConnectionLost)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/mcp/?key=secret", "goes to /mcp/:"),
        ("https://name:secret@host.test:8443/mcp#secret", "goes to https://host.test:8443/mcp:"),
        ("https://host.test/mcp", "goes to https://host.test/mcp:"),
        ("http://[secret", "give the URL"),
        ("http://host:99999/?secret", "give the URL"),
    ],
)
async def test_where_a_redirect_goes_is_told_without_secrets(location: str, shown: str) -> None:
    found = await refusal(lambda asked: asked.status(308, location=location))
    assert shown in str(found)
    assert "secret" not in str(found)


async def test_a_body_that_never_ends_or_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "REFUSAL_SECONDS", 0.05)

    async def endless(asked: Asked) -> None:
        await asked.begin_events()
        while True:
            await asked.raw(b"sorry\n" * 1000)

    async def silent(asked: Asked) -> None:
        await asked.begin_events()
        await asked.raw(b"please wait")
        await asked.gone()

    async def broken(asked: Asked) -> None:
        await asked.begin_events()
        await asked.raw(b"half")
        asked.drop()

    assert (await refusal(endless)).line == "sorry"
    assert (await refusal(silent)).line == "please wait"
    assert (await refusal(broken)).line == "half"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RemoteProtocolError("no HTTP"), ConnectionLost),
        (BodyTooLarge("too large"), ConnectionLost),
        (DeadlineExceeded("too late"), ConnectionLost),
        (LocalProtocolError("bad header"), ConnectFailed),
        (anyio.ClosedResourceError(), ConnectionLost),
        (ConnectFailed("nobody there"), ConnectFailed),
    ],
)
def test_every_failure_of_a_request_is_a_lost_connection(raised: Exception, told: type[Exception]) -> None:
    with pytest.raises(ConnectionLost) as lost, connection_errors():
        raise raised
    assert type(lost.value) is told
    assert str(raised) in str(lost.value)


def test_a_mistake_of_this_library_is_none() -> None:
    with pytest.raises(ZeroDivisionError), connection_errors():
        raise ZeroDivisionError
