"""What a client does with answers: errors by type, deadlines, progress, logs, lists, the cache, its own limits."""

from typing import Any

import anyio
import pytest
from core.scripted import Frame, Peer, Scripted, discovered, handshake, stateless

from mcpcore import (
    Client,
    ConnectionLost,
    Context,
    DeadlineExceeded,
    Limits,
    LocalProtocolError,
    MissingCapability,
    PeerError,
    RemoteProtocolError,
    RequestError,
    Server,
)
from mcpcore.client import MAX_IN_FLIGHT, MAX_PAGES
from mcpcore.session import MAX_RUNNING
from mcpcore.types import LoggingMessageNotificationParams

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
on_virtual_time = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
"""For tests in which time has to pass: only trio has a clock that jumps."""

both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])
served = {"modern": stateless, "legacy": handshake}


def text(words: str) -> Frame:
    return {"content": [{"type": "text", "text": words}]}


# ---------------------------------------------------------------------- errors by type


@both_eras
async def test_each_kind_of_failure_has_its_type(era: str) -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        return {
            "tools/call": {"content": "not a list"},
            "prompts/get": RequestError(-32602, "no such prompt", {"name": "x"}),
            "resources/read": b"[]",
        }[frame["method"]]

    async with Client(Scripted(served[era](answer)), era=era) as client:
        with pytest.raises(PeerError, match="no such prompt") as told:
            await client.get_prompt("x")
        assert (told.value.code, told.value.data) == (-32602, {"name": "x"})
        with pytest.raises(RemoteProtocolError, match="tools/call"):
            await client.call_tool("x")
        with pytest.raises(RemoteProtocolError, match="resources/read"):
            await client.read_resource("config://app")
        with pytest.raises(LocalProtocolError):
            await client.request("server/discover" if era == "legacy" else "ping", None)


def test_failures_share_no_class_that_somebody_could_catch_by_mistake() -> None:
    kinds = (PeerError, ConnectionLost, LocalProtocolError, DeadlineExceeded, RemoteProtocolError)
    for kind in kinds:
        assert not any(issubclass(kind, other) for other in kinds if other is not kind)


# ---------------------------------------------------------------------- deadlines and cancellation


@on_virtual_time
@both_eras
async def test_a_call_past_its_timeout_is_cancelled_at_the_server(era: str) -> None:
    stopped = anyio.Event()
    server = Server("slow")

    @server.tool
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with Client(server, era=era, timeout=1000) as client:
        started = anyio.current_time()
        with pytest.raises(DeadlineExceeded, match=r"tools/call.*2\.5 s"):
            await client.call_tool("hang", timeout=2.5)
        assert anyio.current_time() - started == pytest.approx(2.5)
        with anyio.fail_after(PATIENCE_SECONDS):
            await stopped.wait()
        await client.ping()


@both_eras
async def test_a_cancelled_call_is_cancelled_at_the_server(era: str) -> None:
    cancelled = anyio.Event()
    asked = anyio.Event()

    async def answer(peer: Peer, frame: Frame) -> Any:
        if frame["method"] == "tools/call":
            asked.set()
            await peer.cancelled[frame["id"]].wait()
            cancelled.set()
            return text("too late")
        return {"prompts": []}

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(served[era](answer)), era=era) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "x")
                await asked.wait()
                tasks.cancel_scope.cancel()
            await cancelled.wait()
            assert await client.list_prompts() == []
            assert client.statistics().awaited == 0


@on_virtual_time
async def test_progress_does_not_stretch_the_deadline() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        for step in range(1000):
            await peer.progress(frame, step)
            await anyio.sleep(1)

    async def show(*_: Any) -> None: ...

    async with Client(Scripted(stateless(answer))) as client:
        started = anyio.current_time()
        with pytest.raises(DeadlineExceeded):
            await client.call_tool("x", timeout=10, on_progress=show)
        assert anyio.current_time() - started == pytest.approx(10)


# ---------------------------------------------------------------------- progress and logs


@both_eras
async def test_a_thousand_steps_come_in_order_and_before_the_result(era: str) -> None:
    server = Server("steps")

    @server.tool
    async def count(ctx: Context) -> str:
        for step in range(1, 1001):
            await ctx.progress(step, total=1000, message=str(step))
        return "done"

    seen: list[tuple[float, float | None, str | None]] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append((progress, total, message))

    async with Client(server, era=era) as client:
        await client.call_tool("count", on_progress=show)
    assert seen == [(step, 1000, str(step)) for step in range(1, 1001)]


async def test_an_error_of_on_progress_ends_the_call_and_the_work() -> None:
    given_up = anyio.Event()

    async def answer(peer: Peer, frame: Frame) -> Any:
        if frame["method"] == "tools/call":
            await peer.progress(frame, 1)
            await peer.cancelled[frame["id"]].wait()
            given_up.set()
        return {"prompts": []}

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(answer))) as client:
            with pytest.raises(ZeroDivisionError):
                await client.call_tool("x", on_progress=broken)
            await given_up.wait()
            assert await client.list_prompts() == []


@both_eras
async def test_on_progress_may_call_the_server_again(era: str) -> None:
    server = Server("steps")

    @server.tool
    async def count(ctx: Context) -> str:
        for step in range(1, 4):
            await ctx.progress(step)
        return "done"

    @server.tool(inline=True)
    def add(a: int, b: int) -> int:
        return a + b

    seen: list[Any] = []

    async with Client(server, era=era) as client:

        async def show(progress: float, total: float | None, message: str | None) -> None:
            seen.append((await client.call_tool("add", {"a": int(progress), "b": 10})).structured_content)

        with anyio.fail_after(PATIENCE_SECONDS):
            await client.call_tool("count", on_progress=show)
    assert seen == [{"result": 11}, {"result": 12}, {"result": 13}]


async def test_a_token_is_sent_only_to_whoever_wants_progress() -> None:
    seen: list[Frame] = []

    async def answer(peer: Peer, frame: Frame) -> Any:
        seen.append(frame)
        return text("done")

    async def show(*_: Any) -> None: ...

    async with Client(Scripted(stateless(answer))) as client:
        await client.call_tool("x", meta={"com.example/trace": "t"})
        await client.call_tool("x", on_progress=show)
    assert "progressToken" not in seen[0]["params"]["_meta"]
    assert seen[0]["params"]["_meta"]["com.example/trace"] == "t"
    assert seen[1]["params"]["_meta"]["progressToken"] == seen[1]["id"]
    assert seen[0]["id"] != seen[1]["id"]


@both_eras
async def test_every_log_message_is_seen_before_the_client_is_closed(era: str) -> None:
    server = Server("logs")

    @server.tool
    async def log(ctx: Context) -> str:
        for number in range(200):
            await ctx.info(number)
        await ctx.debug("too quiet")
        return "done"

    seen: list[Any] = []

    async def on_log(params: LoggingMessageNotificationParams) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(params.data)
        if params.data == 3:
            raise ZeroDivisionError  # logged, and no reason to stop listening

    async with Client(server, era=era, on_log=on_log) as client:
        await client.call_tool("log")
    assert seen == list(range(200))


@on_virtual_time
async def test_a_log_callback_that_hangs_does_not_keep_the_client_from_closing() -> None:
    server = Server("logs")

    @server.tool
    async def log(ctx: Context) -> None:
        await ctx.info("x")

    async def hang(params: LoggingMessageNotificationParams) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(server, on_log=hang) as client:
            await client.call_tool("log")


@both_eras
async def test_the_log_level_is_the_clients(era: str) -> None:
    server = Server("logs")

    @server.tool
    async def log(ctx: Context) -> None:
        await ctx.debug("d")
        await ctx.warning("w")
        await ctx.error("e")

    seen: list[Any] = []

    async def on_log(params: LoggingMessageNotificationParams) -> None:
        seen.append(params.data)

    async with Client(server, era=era, on_log=on_log, log_level="error") as client:
        await client.call_tool("log")
    assert seen == ["e"]
    async with Client(server, era=era, on_log=on_log, log_level="debug") as client:
        await client.call_tool("log")
        if era == "legacy":
            await client.set_log_level("warning")
            await client.call_tool("log")
        else:
            with pytest.raises(LocalProtocolError, match="log_level"):
                await client.set_log_level("warning")
    assert seen == ["e", "d", "w", "e"] + (["w", "e"] if era == "legacy" else [])


# ---------------------------------------------------------------------- lists and the cache


class Counted:
    """A server whose every answer says how often it was asked."""

    def __init__(self, ttl_ms: Any = 5000) -> None:
        self.asked: list[str] = []
        self.peer: Peer | None = None
        self._ttl = {} if ttl_ms is None else {"ttlMs": ttl_ms, "cacheScope": "private"}

    async def __call__(self, peer: Peer, frame: Frame) -> Any:
        method = frame["method"]
        self.asked.append(method)
        self.peer = peer
        if method == "subscriptions/listen":
            meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": frame["id"]}}
            acknowledged = {"notifications": frame["params"]["notifications"], **meta}
            await peer.notify(frame, "notifications/subscriptions/acknowledged", acknowledged)
            self.changed = lambda kind: peer.notify(frame, f"notifications/{kind}/list_changed", meta)
            self.updated = lambda uri: peer.notify(frame, "notifications/resources/updated", {"uri": uri, **meta})
            return None
        count = len(self.asked)
        if method == "resources/read":
            return {"resultType": "complete", "contents": [{"uri": "a://b", "text": str(count)}], **self._ttl}
        member, item = {
            "tools/list": ("tools", {"name": f"t{count}", "inputSchema": {"type": "object"}}),
            "prompts/list": ("prompts", {"name": f"p{count}"}),
            "resources/list": ("resources", {"name": f"r{count}", "uri": "a://b"}),
            "resources/templates/list": ("resourceTemplates", {"name": f"m{count}", "uriTemplate": "a://{b}"}),
        }[method]
        return {"resultType": "complete", member: [item], **self._ttl}


@on_virtual_time
async def test_a_list_is_asked_for_again_when_its_time_is_up() -> None:
    counted = Counted(ttl_ms=5000)
    async with Client(Scripted(stateless(counted))) as client:
        first = await client.list_tools()
        await anyio.sleep(4.9)
        assert await client.list_tools() == first
        assert counted.asked == ["tools/list"]
        await anyio.sleep(0.2)
        assert await client.list_tools() != first
        assert counted.asked == ["tools/list"] * 2


@pytest.mark.parametrize("ttl_ms", [None, 0, -1])
async def test_nothing_is_kept_that_the_server_did_not_allow(ttl_ms: int | None) -> None:
    counted = Counted(ttl_ms)
    async with Client(Scripted(stateless(counted))) as client:
        await client.list_tools()
        await client.list_tools()
        await client.read_resource("a://b")
        await client.read_resource("a://b")
    assert counted.asked == ["tools/list"] * 2 + ["resources/read"] * 2


async def test_nothing_is_kept_of_another_client() -> None:
    counted = Counted()
    transport = Scripted(stateless(counted))
    for _ in range(2):
        async with Client(transport) as client:
            await client.list_tools()
    assert counted.asked == ["tools/list"] * 2


async def test_resources_are_kept_each_by_its_uri() -> None:
    counted = Counted()
    async with Client(Scripted(stateless(counted))) as client:
        first = await client.read_resource("a://b")
        assert await client.read_resource("a://b") == first
        assert await client.read_resource("a://c") != first
    assert counted.asked == ["resources/read"] * 2


async def test_a_change_that_is_heard_of_empties_the_cache() -> None:
    counted = Counted(ttl_ms=10**9)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(counted))) as client:
            lists = (client.list_tools, client.list_prompts, client.list_resources, client.list_templates)
            async with client.listen(tools=True, prompts=True, resources=["a://b"]) as changes:
                for ask in lists:
                    await ask()
                await client.read_resource("a://b")
                await client.read_resource("a://c")
                counted.asked.clear()
                await counted.changed("tools")
                assert (await anext(changes)).kind == "tools"
                for ask in lists:
                    await ask()
                assert counted.asked == ["tools/list"]
                await counted.updated("a://b")
                assert (await anext(changes)).uri == "a://b"
                await client.read_resource("a://c")
                await client.read_resource("a://b")
                assert counted.asked == ["tools/list", "resources/read"]


async def test_all_pages_are_fetched_and_the_cursor_goes_back_as_it_came() -> None:
    cursors: list[Any] = []

    async def answer(peer: Peer, frame: Frame) -> Any:
        cursors.append(frame["params"].get("cursor"))
        number = len(cursors)
        page: Frame = {"prompts": [{"name": f"p{number}"}]}
        return {**page, "nextCursor": f" opaque/{number}=="} if number < 4 else page

    async with Client(Scripted(stateless(answer))) as client:
        assert [prompt.name for prompt in await client.list_prompts()] == ["p1", "p2", "p3", "p4"]
    assert cursors == [None, " opaque/1==", " opaque/2==", " opaque/3=="]


@pytest.mark.parametrize("length", [1, 2, 7])
async def test_cursors_that_go_round_are_noticed(length: int) -> None:
    asked = 0

    async def answer(peer: Peer, frame: Frame) -> Any:
        nonlocal asked
        asked += 1
        return {"prompts": [], "nextCursor": str(asked % length)}

    async with Client(Scripted(stateless(answer))) as client:
        with pytest.raises(RemoteProtocolError, match="prompts/list"):
            await client.list_prompts()
        assert asked <= length + 1


async def test_a_list_without_end_ends() -> None:
    asked = 0

    async def answer(peer: Peer, frame: Frame) -> Any:
        nonlocal asked
        asked += 1
        return {"prompts": [], "nextCursor": str(asked)}

    async with Client(Scripted(stateless(answer))) as client:
        with pytest.raises(RemoteProtocolError, match=str(MAX_PAGES)):
            await client.list_prompts()
    assert asked == MAX_PAGES


# ---------------------------------------------------------------------- its own limits


@both_eras
async def test_five_thousand_calls_of_one_client_stay_below_the_servers_limit(era: str) -> None:
    server = Server("busy", limits=Limits(max_running=MAX_IN_FLIGHT, max_waiting=1))
    most = 0

    @server.tool(inline=True)
    async def work(number: int) -> int:
        nonlocal most
        most = max(most, server.statistics().running)
        await anyio.lowlevel.checkpoint()
        return number

    answers: dict[int, Any] = {}

    async def call(client: Client, number: int) -> None:
        answers[number] = (await client.call_tool("work", {"number": number})).structured_content

    with anyio.fail_after(PATIENCE_SECONDS * 2):
        async with Client(server, era=era) as client, anyio.create_task_group() as tasks:
            for number in range(5000):
                tasks.start_soon(call, client, number)
    assert answers == {number: {"result": number} for number in range(5000)}
    assert 1 < most <= MAX_IN_FLIGHT <= MAX_RUNNING


async def test_a_call_that_waits_for_a_place_can_be_cancelled() -> None:
    release = anyio.Event()

    async def answer(peer: Peer, frame: Frame) -> Any:
        await release.wait()
        return text("done")

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(answer)), max_in_flight=1) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "first")
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await client.call_tool("second")
            assert client.statistics().awaited == 1
            release.set()
            await client.call_tool("third")


async def test_what_a_server_does_not_announce_is_not_listened_for() -> None:
    async def serve(peer: Peer) -> None:
        async for frame in peer:
            await peer.answer(frame, {**discovered("2026-07-28"), "capabilities": {"tools": {}}})

    async with Client(Scripted(serve)) as client:
        for wanted in ({"tools": True}, {"prompts": True}, {"resources": ["a://b"]}):
            with pytest.raises(MissingCapability):
                async with client.listen(**wanted):  # type: ignore[arg-type]
                    raise AssertionError


async def test_a_result_for_nobody_and_stray_messages_do_no_harm() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        await peer.announce("notifications/com.example/whatever", {"x": 1})
        await peer.announce("notifications/message", {"level": "shout", "data": 1})
        await peer.announce("notifications/tools/list_changed", {"_meta": 3})
        return text("fine")

    for era in ("modern", "legacy"):
        async with Client(Scripted(served[era](answer)), era=era) as client:
            assert (await client.call_tool("x")).content[0].text == "fine"  # type: ignore[union-attr]


async def test_garbled_progress_does_not_cost_the_result() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        token = frame["params"]["_meta"]["progressToken"]
        await peer.notify(frame, "notifications/progress", {"progressToken": token, "progress": "much"})
        await peer.notify(frame, "notifications/progress", {"progressToken": token, "progress": 2})
        return text("fine")

    seen: list[float] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with Client(Scripted(stateless(answer))) as client:
        assert (await client.call_tool("x", on_progress=show)).content[0].text == "fine"  # type: ignore[union-attr]
    assert seen == [2]


async def test_a_server_cannot_open_a_thousand_dialogs_at_once() -> None:
    asked: list[Any] = []

    async def on_elicit(question: Any) -> None:
        asked.append(question)

    form = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
    questions = {f"q{n}": {"method": "elicitation/create", "params": form} for n in range(1000)}

    async def answer(peer: Peer, frame: Frame) -> Any:
        return {"resultType": "input_required", "inputRequests": questions}

    async with Client(Scripted(stateless(answer)), on_elicit=on_elicit) as client:
        with pytest.raises(RemoteProtocolError, match="1000 questions at once; 64 are allowed"):
            await client.call_tool("t")
    assert asked == []
