"""A server that forgets its sessions, and what a client tells the next one again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import Client, Context, Server
from mcpcore_transports.framing.origins import AccessPolicy
from mcpcore_transports.http.endpoint import Endpoint
from mcpcore_transports.http.options import HttpOptions
from mcpcore_transports.http.server import endpoint_running
from mcpcore_transports.web.listener import serve_http

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[tuple[str, Endpoint]]:
    endpoint = Endpoint(server, HttpOptions(policy=AccessPolicy.for_bind("127.0.0.1")))
    async with endpoint_running(server, endpoint), anyio.create_task_group() as tasks:

        async def listen(*, task_status: Any) -> None:
            await serve_http(endpoint, port=0, task_status=task_status)

        [(host, port)] = await tasks.start(listen)
        yield f"http://{host}:{port}/mcp", endpoint
        tasks.cancel_scope.cancel()


async def test_a_new_session_knows_the_log_level_and_what_is_watched() -> None:
    server = Server("forgetful")

    @server.resource("test://watched")
    async def watched() -> str:
        return "content"

    @server.tool
    async def speak(ctx: Context) -> None:
        await ctx.debug("whisper")

    heard: list[Any] = []
    arrived = anyio.Event()

    async def on_log(message: Any) -> None:
        heard.append(message.data)
        arrived.set()

    async with serving(server) as (url, endpoint):
        async with Client(url, era="2025-11-25", on_log=on_log, log_level="debug") as client:
            async with client.listen(resources=["test://watched"]) as changes:
                for session in list(endpoint.sessions._sessions.values()):
                    await endpoint.sessions.end(session)
                with anyio.fail_after(10):
                    await client.ping()  # finds the session gone, and begins another one
                    while not any(subscriber.uris for subscriber in server.publisher._subscribers):
                        await client.ping()
                    await client.call_tool("speak")
                    await arrived.wait()
                    # The stream that announcements come on is opened again beside the requests.
                    while not any(session.unasked.attached for session in endpoint.sessions._sessions.values()):
                        await client.ping()
                    await server.notify_resource_updated("test://watched")
                    change = await anext(changes)
    assert heard == ["whisper"]
    assert change.uri == "test://watched"
