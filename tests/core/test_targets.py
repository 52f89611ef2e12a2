"""What a client can be pointed at, and the connection to a server of this process."""

from typing import Any

import anyio
import pytest

from mcpcore import Server
from mcpcore.channel import Channel, Envelope
from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore.jsonrpc import Notification
from mcpcore.targets import Serves, transport_to
from mcpcore_transports.http.client import HttpTransport
from mcpcore_transports.stdio.client import StdioTransport

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 10.0


class Listening:
    """A server that keeps what it hears, until the client has left."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.left = anyio.Event()

    async def serve_channel(self, channel: Channel, *, grace: float) -> None:
        try:
            while True:
                self.heard.append((await channel.receive()).message)
        except anyio.EndOfStream:
            self.left.set()


class Failing:
    """A server with this error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def serve_channel(self, channel: Channel, *, grace: float) -> None:
        raise self.error


class Elsewhere:
    """A transport, whatever else it may be."""

    def connect(self) -> Any:
        raise NotImplementedError

    async def serve_channel(self, channel: Channel, *, grace: float) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("http://localhost/mcp", HttpTransport),
        ("https://localhost/mcp", HttpTransport),
        (["python", "server.py"], StdioTransport),
        (("python", 3), StdioTransport),
    ],
)
def test_a_target_chooses_its_transport(target: Any, kind: type) -> None:
    assert isinstance(transport_to(target), kind)


def test_a_transport_is_taken_as_it_is() -> None:
    transport = Elsewhere()
    assert isinstance(transport, Serves)
    assert transport_to(transport) is transport


@pytest.mark.parametrize("target", [None, "", "server.py", "ftp://localhost", "HTTP", [], (), 7, b"http://x", object()])
def test_anything_else_is_refused(target: Any) -> None:
    with pytest.raises(LocalProtocolError, match="is no target: give a URL, a command"):
        transport_to(target)


async def test_a_server_of_this_process_hears_the_client_and_its_leaving() -> None:
    server = Listening()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with transport_to(server).connect() as channel:
            await channel.send(Envelope(Notification("hello", {})))
            await channel.send(Envelope(Notification("again", {})))
        assert server.left.is_set()
    assert [message.method for message in server.heard] == ["hello", "again"]


async def test_a_server_that_only_notices_the_closing_is_no_failure() -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with transport_to(Failing(ConnectionLost("the client is gone"))).connect() as channel:
            with pytest.raises(anyio.EndOfStream):
                await channel.receive()


async def test_what_a_server_raises_reaches_whoever_connected_as_itself() -> None:
    async def wait() -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with transport_to(Failing(ZeroDivisionError("in the server"))).connect():
                await anyio.sleep_forever()

    with pytest.raises(ZeroDivisionError, match="in the server"):
        await wait()


async def test_what_the_client_raises_ends_the_server() -> None:
    server = Listening()

    async def fail() -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with transport_to(server).connect():
                raise KeyError("in the client")

    with pytest.raises(KeyError, match="in the client"):
        await fail()
    assert server.left.is_set()


async def test_each_connection_is_its_own() -> None:
    server = Listening()
    transport = transport_to(server)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with transport.connect() as one:
            async with transport.connect() as other:
                await other.send(Envelope(Notification("other", {})))
            await one.send(Envelope(Notification("one", {})))
    assert [message.method for message in server.heard] == ["other", "one"]


@pytest.mark.parametrize("given", [{"headers": {"x": "y"}}, {"auth": "token"}])
@pytest.mark.parametrize("target", [Server("s"), ["python", "server.py"]])
def test_what_belongs_to_a_url_is_refused_elsewhere(target: Any, given: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="belong to a URL"):
        transport_to(target, **given)
