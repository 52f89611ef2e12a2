"""What a peer, or a handler's author, can do that no single module answers for alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from core.raw_peer import RawPeer, wired
from core.scripted import Frame, Peer, Scripted, stateless

from mcpcore import (
    Client,
    ConnectFailed,
    Context,
    DeadlineExceeded,
    InvalidParams,
    Limits,
    LocalProtocolError,
    PeerError,
    RemoteProtocolError,
    ResourceNotFound,
    Server,
    ToolError,
)
from mcpcore.channel import Channel
from mcpcore.eras import Terms
from mcpcore.listening import Changed
from mcpcore.revisions import LATEST
from mcpcore.server import MAX_CLIENT_NAMES
from mcpcore.types import ClientCapabilities, Implementation, ResourceTemplateReference
from mcpcore.validation import validator_of

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 10
both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])
on_virtual_time = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
"""For tests in which time has to pass: only trio has a clock that jumps."""


class City(msgspec.Struct):
    name: str


async def paris(params: Any) -> dict[str, str]:
    return {"name": "Paris"}


@asynccontextmanager
async def on_a_pipe(server: Server) -> AsyncIterator[RawPeer]:
    """A peer that has shaken hands (2025-11-25), with a server behind a pipe."""
    client = {"name": "raw", "version": "1"}
    terms = {"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": client}
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_channel, multiplexer)
        await peer.say({"id": "hello", "method": "initialize", "params": terms})
        await peer.hear()
        await peer.say({"method": "notifications/initialized"})
        yield peer
        tasks.cancel_scope.cancel()


# ---------------------------------------------------------------------- the task that reads


async def test_a_ping_is_answered_whatever_the_middleware_waits_for() -> None:
    async def never(context: Context, following: Any) -> Any:
        await anyio.sleep_forever()

    server = Server("s", inbound=[never])
    server.tool(name="t")(lambda: 1)
    async with on_a_pipe(server) as peer:
        await peer.say({"id": 1, "method": "tools/list"}, {"id": 2, "method": "ping"})
        assert await peer.hear() == {"jsonrpc": "2.0", "id": 2, "result": {}}
        # The reading task goes on: it hears that the first one is cancelled.
        await peer.say({"method": "notifications/cancelled", "params": {"requestId": 1}}, {"id": 1, "method": "ping"})
        assert await peer.hear() == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_a_handshake_takes_no_place_that_could_be_missing() -> None:
    server = Server("s", max_running=0)
    server.tool(name="t")(lambda: 1)
    async with Client(server, era="legacy") as client:
        with pytest.raises(PeerError, match="limit"):
            await client.list_tools()


async def test_requests_that_were_given_up_take_no_place_in_the_queue() -> None:
    server = Server("s", limits=Limits(max_running=1, max_waiting=3))
    go_on = anyio.Event()

    @server.tool
    async def hang() -> None:
        await go_on.wait()

    def call(id: int) -> Frame:
        return {"id": id, "method": "tools/call", "params": {"name": "hang"}}

    async with on_a_pipe(server) as peer:
        await peer.say(*map(call, range(4)))
        await peer.say(*({"method": "notifications/cancelled", "params": {"requestId": id}} for id in (1, 2, 3)))
        await peer.say(*map(call, range(4, 8)))
        assert (await peer.hear())["id"] == 7  # three wait again, and this one is the fourth
        go_on.set()
        assert [(await peer.hear())["id"] for _ in range(4)] == [0, 4, 5, 6]
        (statistics,) = server.session_statistics()
    assert (statistics.cancelled, statistics.refused) == (3, 1)


async def test_nothing_is_announced_before_the_handshake() -> None:
    server = Server("s")
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_channel, multiplexer)
        await peer.say({"method": "notifications/initialized"})
        await anyio.wait_all_tasks_blocked()
        server.tool(name="t")(lambda: 1)
        assert await peer.hears_nothing()
        tasks.cancel_scope.cancel()


def test_a_client_cannot_fill_the_statistics_with_long_names() -> None:
    server = Server("s")
    for name in (*(f"{'n' * 64}{number}" for number in range(MAX_CLIENT_NAMES)), "desktop"):
        info = Implementation(name=name, version="1")
        server.began(Terms(revision=LATEST, capabilities=ClientCapabilities(), client_info=info), "memory", True)
    assert server.statistics().clients == {
        f"memory {LATEST} {'n' * 64}": MAX_CLIENT_NAMES,
        f"memory {LATEST} desktop": 1,
    }


# ---------------------------------------------------------------------- lists that change


@both_eras
async def test_a_list_that_was_emptied_is_an_empty_list(era: Any) -> None:
    server = Server("s")
    server.tool(name="t")(lambda: 1)
    async with Client(server, era=era) as client, client.listen(tools=True) as changes:
        assert len(await client.list_tools()) == 1
        server.remove_tool("t")
        with anyio.fail_after(PATIENCE_SECONDS):
            assert await anext(changes) == Changed("tools")
        assert await client.list_tools() == []


@both_eras
@pytest.mark.parametrize("anyio_backend", ["asyncio", ("trio", {})], ids=["asyncio", "trio"])
async def test_a_tool_in_a_thread_may_change_a_list(era: Any) -> None:
    """Real time on trio: virtual time would pass while the thread works."""
    server = Server("s")

    @server.tool
    def grow(name: str) -> str:
        server.tool(name=name)(lambda: 1)
        return name

    async with Client(server, era=era) as client, client.listen(tools=True) as changes:
        for name in ("a", "b"):
            result = await client.call_tool("grow", {"name": name})
            assert result.structured_content == {"result": name}
            with anyio.fail_after(PATIENCE_SECONDS):
                assert await anext(changes) == Changed("tools")


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("trio", {})], ids=["asyncio", "trio"])
async def test_a_tool_in_a_thread_may_run_an_event_loop(anyio_backend: Any) -> None:
    """Real time on trio, as above. The test's own loop runs under `anyio.run`, as a server's does."""
    server = Server("s")

    @server.tool
    def inner() -> list[str]:
        async def loop() -> str:
            return type(anyio.lowlevel.current_token()).__name__

        return [anyio.run(loop), anyio.run(loop, backend="trio"), asyncio.run(loop())]

    async def main() -> Any:
        async with Client(server) as client:
            return await client.call_tool("inner")

    backend = anyio_backend if isinstance(anyio_backend, str) else "trio"
    result = await anyio.to_thread.run_sync(lambda: anyio.run(main, backend=backend))
    assert result.structured_content == {"result": ["EventLoopToken"] * 3}


# ---------------------------------------------------------------------- handlers


@both_eras
async def test_nothing_is_asked_once_the_answer_is_out(era: Any) -> None:
    async with anyio.create_task_group() as background:
        server = Server("s")
        answered, refused = anyio.Event(), anyio.Event()

        async def late(context: Context) -> None:
            await answered.wait()
            with pytest.raises(LocalProtocolError, match="answered already"):
                await context.elicit("Which city?", City)
            refused.set()

        @server.tool
        async def start(context: Context) -> None:
            background.start_soon(late, context)

        async with Client(server, era=era, on_elicit=paris) as client:
            await client.call_tool("start")
            answered.set()
            with anyio.fail_after(PATIENCE_SECONDS):
                await refused.wait()


async def in_a_group(error: Exception) -> None:
    async def fail() -> None:
        raise error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail)


@both_eras
async def test_an_error_means_the_same_from_a_task_of_the_handler(era: Any) -> None:
    server = Server("s")

    @server.tool
    async def picky() -> None:
        await in_a_group(InvalidParams("no such thing"))

    @server.tool
    async def curious(context: Context) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(context.elicit, "Which city?", City)

    @server.resource("config://app", name="app")
    async def app() -> str:
        await in_a_group(ResourceNotFound("config://app"))
        return ""

    async with Client(server, era=era) as client:
        with pytest.raises(PeerError, match="no such thing"):
            await client.call_tool("picky")
        with pytest.raises(PeerError, match="no resource has the URI"):
            await client.read_resource("config://app")
        if era == "modern":
            with pytest.raises(PeerError, match="cannot show a form"):
                await client.call_tool("curious")
        else:
            assert "cannot show a form" in repr((await client.call_tool("curious")).content)


@both_eras
async def test_a_fault_beside_a_question_is_what_counts(era: Any) -> None:
    server = Server("s")

    @server.tool
    async def both(context: Context) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(context.elicit, "Which city?", City)
            tasks.start_soon(in_a_group, ToolError("the road is closed"))

    async with Client(server, era=era, on_elicit=paris) as client:
        result = await client.call_tool("both")
    assert result.is_error
    assert "the road is closed" in repr(result.content)


@both_eras
async def test_once_is_once_for_each_name(era: Any) -> None:
    server = Server("s")
    ran: list[str] = []

    async def act(what: str) -> str:
        ran.append(what)
        if what == "fail":
            raise ToolError("try again")
        return what

    @server.tool
    async def twice(context: Context) -> list[str]:
        with pytest.raises(ToolError):
            await context.once("act", act, "fail")
        first = await context.once("act", act, "one")
        with pytest.raises(LocalProtocolError, match="already"):
            await context.once("act", act, "two")
        return [first]

    async with Client(server, era=era) as client:
        result = await client.call_tool("twice")
    assert result.structured_content == {"result": ["one"]}
    assert ran == ["fail", "one"]


async def test_what_holds_texts_only_can_give_any_type() -> None:
    server = Server("s")

    @server.prompt
    async def report(
        count: int | None = None, city: City | None = None, names: list[str] | None = None, title: str | None = None
    ) -> str:
        return repr((count, city, names, title))

    @server.resource("config://{part}", name="part")
    async def part(part: int | None) -> str:
        return repr(part)

    async with Client(server) as client:
        given = {"count": "5", "city": '{"name":"Paris"}', "names": '["a"]', "title": "null"}
        (message,) = (await client.get_prompt("report", given)).messages
        (contents,) = (await client.read_resource("config://7")).contents
        with pytest.raises(PeerError, match="`count`"):
            await client.get_prompt("report", {"count": "five"})
    assert getattr(message.content, "text", None) == "(5, City(name='Paris'), ['a'], 'null')"
    assert getattr(contents, "text", None) == "7"


# ---------------------------------------------------------------------- clients


@on_virtual_time
@both_eras
async def test_waiting_for_a_turn_has_a_deadline(era: Any) -> None:
    server = Server("s")
    refused: list[str] = []

    @server.tool
    async def ask(context: Context) -> str:
        return (await context.elicit("Which city?", City)).action

    @server.tool
    async def hang() -> None:
        await anyio.sleep_forever()

    async def answer(params: Any) -> Any:
        with pytest.raises(DeadlineExceeded, match="not sent within 3 s: 1 requests are in flight") as error:
            await client.list_tools()
        refused.append(str(error.value))
        return {"name": "Paris"}

    with anyio.fail_after(100):
        async with (
            Client(server, era=era, on_elicit=answer, max_in_flight=1, timeout=3) as client,
            anyio.create_task_group() as tasks,
        ):
            if era == "modern":  # there a question is asked while nothing is in flight
                tasks.start_soon(partial(client.call_tool, "hang", timeout=60))
                await anyio.wait_all_tasks_blocked()
                await answer(None)
                tasks.cancel_scope.cancel()
            else:
                # The clocks stand still while the user is asked, so only a deadline of its own can end this wait.
                result = await client.call_tool("ask")
                assert result.structured_content == {"result": "accept"}
    assert len(refused) == 1


async def test_a_client_can_connect_again_after_a_failure() -> None:
    class Flaky:
        attempts = 0

        @asynccontextmanager
        async def connect(self) -> AsyncIterator[Channel]:
            self.attempts += 1
            raise ConnectFailed("nobody there")
            yield

    flaky = Flaky()
    client = Client(flaky)
    for attempt in (1, 2):
        with pytest.raises(ConnectFailed, match="nobody there"):
            await client.__aenter__()
        assert flaky.attempts == attempt

    server = Server("s")
    server.tool(name="t")(lambda: 1)
    client = Client(server)
    with pytest.raises(KeyError):
        async with client:
            raise KeyError
    async with client:
        assert [tool.name for tool in await client.list_tools()] == ["t"]


async def test_a_listen_that_is_answered_at_once_ends_at_once() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        return {"resultType": "complete"}

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(answer)), era="modern") as client, client.listen(tools=True) as changes:
            assert [change async for change in changes] == []


async def test_a_change_in_place_of_an_acknowledgement_is_not_lost() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        meta = {"io.modelcontextprotocol/subscriptionId": frame["id"]}
        await peer.notify(frame, "notifications/tools/list_changed", {"_meta": meta})

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(answer)), era="modern") as client, client.listen(tools=True) as changes:
            assert await anext(changes) == Changed("tools")


async def test_a_template_is_completed_whatever_its_scheme() -> None:
    asked: list[Any] = []

    async def watch(context: Context, following: Any) -> Any:
        asked.append(context.params)
        return await following(context)

    server = Server("s", inbound=[watch])

    @server.resource("urn:isbn:{number}", name="book")
    async def book(number: str) -> str:
        return number

    @server.completion("urn:isbn:{number}", "number")
    async def numbers(typed: str) -> list[str]:
        return [typed + "0"]

    async with Client(server) as client:
        assert (await client.complete("urn:isbn:{number}", "number", "1")).values == ["10"]
    assert asked[-1].ref == ResourceTemplateReference(uri="urn:isbn:{number}")


def test_one_directory_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(LocalProtocolError, match=r"give \['/srv'\]"):
        Client(Server("s"), roots="/srv")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$anchor": "a", "$ref": "#a"},
        {"$schema": 5},
        {"$schema": ["x"]},
    ],
    ids=repr,
)
def test_a_schema_made_to_break_the_library_is_an_error_of_the_server(schema: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="tool 't'"):
        validator_of("t", schema)({})
