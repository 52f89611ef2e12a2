"""The listener behind TLS."""

import ssl
from pathlib import Path

import anyio
import pytest
from certificate import certify
from transports.listening import MUCH, TEXT, Probe, Wire, get, serving, wait_for_ever

from mcpcore_transports.web.exchange import WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context that trust each other."""
    file = certify(folder)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def test_tls(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)

    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/stream":
            await response.start(200, TEXT)
            for _ in range(5):
                await response.send(MUCH)
            await response.finish()
        else:
            await response.send_whole(200, TEXT, request.scheme.encode() + await request.body(1000))

    async with serving(app, ssl_context=server, limits=HttpLimits(head_seconds=0.5)) as served:
        address = served.addresses[0]
        async with await anyio.connect_tcp(*address, ssl_context=client, tls_hostname="localhost") as stream:
            wire = Wire(stream)
            assert (await wire.ask("/", b"!"))[2] == b"https!"
            await wire.send(get("/stream", b"Connection: close\r\n"))
            assert (await wire.rest()).partition(b"\r\n\r\n")[2].count(b"x") == 5 * len(MUCH)
        async with served.connect() as plain:
            await plain.send(get())
            assert b"HTTP" not in await plain.rest()
        async with served.connect() as silent:
            assert b"HTTP" not in await silent.rest()


async def test_tls_client_that_leaves_cancels(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    probe = Probe(wait_for_ever)
    async with serving(probe, ssl_context=server) as served:
        address = served.addresses[0]
        async with await anyio.connect_tcp(*address, ssl_context=client, tls_hostname="localhost") as stream:
            await stream.send(get())
            await probe.wait("began")
        await probe.wait("ended")
    assert probe.cancelled
