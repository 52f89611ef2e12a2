"""Bad input and faults: a clear error to whoever caused it, the session lives on, and nothing else is lost."""

import json
from typing import Any

import anyio
import msgspec
import pytest
from core.wire import PATIENCE, Frame, modern_meta, settle, wired

from mcpcore import Client, Context, Limits, Server
from mcpcore.client import MAX_IN_FLIGHT
from mcpcore.errors import CODE_SERVER_BUSY
from mcpcore.jsonrpc import Oversize
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore.types import CallToolResult

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
DEEP = 10_000


@pytest.fixture
def server() -> Server:
    server = Server("s")

    @server.tool
    async def echo(text: Any = None) -> Any:
        return {"text": text}

    return server


def ping(revision: Revision, id: str = "alive") -> bytes:
    """Something that every revision answers."""
    if revision.era is Era.LEGACY:
        return json.dumps({"jsonrpc": "2.0", "id": id, "method": "ping"}).encode()
    request = {"jsonrpc": "2.0", "id": id, "method": "server/discover", "params": {"_meta": modern_meta()}}
    return json.dumps(request).encode()


# ---------------------------------------------------------------------- frames that are no messages

NO_JSON = [
    b"{",
    b"hello",
    b'{"jsonrpc": "2.0", "id": 1,}',
    b"\xff\xfe\x00",
    b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"} {}',
    b"\xef\xbb\xbf{}",
    b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
    b'["',
]
NO_MESSAGE: list[tuple[bytes, Any]] = [
    (b"1", None),
    (b"null", None),
    (b'"text"', None),
    (b"{}", None),
    (b"[]", None),
    (b'{"id":1}', 1),
    (b'{"jsonrpc":"2.0","id":7}', 7),
    (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', 7),
    (b'{"jsonrpc":2.0,"id":7,"method":"ping"}', 7),
    (b'{"id":7,"method":"ping"}', 7),
    (b'{"jsonrpc":"2.0","id":"x","method":5}', "x"),
    (b'{"jsonrpc":"2.0","id":"x","method":null}', "x"),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', None),
    (b"[" * DEEP, None),
    (b"[" * DEEP + b"]" * DEEP, None),
    (b'{"a":' * DEEP + b"1" + b"}" * DEEP, None),
]


@pytest.mark.parametrize("frame", NO_JSON)
async def test_what_is_no_json_is_a_parse_error(server: Server, revision: Revision, frame: bytes) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        peer.write(frame)
        peer.write(ping(revision))
        answers = await peer.drain()
    assert [answer.get("id") for answer in answers] == [None, "alive"]
    assert answers[0]["error"]["code"] == -32700
    assert "id" not in answers[0]


@pytest.mark.parametrize(("frame", "id"), NO_MESSAGE, ids=[repr(frame[:50]) for frame, _ in NO_MESSAGE])
async def test_what_is_no_message_is_an_invalid_request(
    server: Server, revision: Revision, frame: bytes, id: Any
) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        peer.write(frame)
        peer.write(ping(revision))
        answers = await peer.drain()
    assert [answer.get("id") for answer in answers] == [id, "alive"]
    assert answers[0]["error"]["code"] in (-32600, -32700)
    if not frame.startswith((b"[" * 100, b'{"a":')):
        assert answers[0]["error"]["code"] == -32600
    assert "result" in answers[1]


@pytest.mark.parametrize(
    "frame",
    [
        {"jsonrpc": "2.0", "id": 99, "result": {}},
        {"jsonrpc": "2.0", "id": "1", "result": {"content": []}},
        {"jsonrpc": "2.0", "id": 99, "error": {"code": 1, "message": "x"}},
        {"jsonrpc": "2.0", "id": 99, "error": "x"},
        {"jsonrpc": "2.0", "id": 99, "result": {}, "error": {"code": 1, "message": "x"}},
        {"jsonrpc": "2.0", "error": {"code": -32700, "message": "your fault"}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "your fault"}},
    ],
)
async def test_answers_to_nothing_are_not_answered(server: Server, revision: Revision, frame: Frame) -> None:
    """An error in return for an error would go on for ever."""
    async with wired(server) as peer:
        await peer.hello(revision)
        for _ in range(3):
            peer.write(frame)
        peer.write(ping(revision))
        assert [answer.get("id") for answer in await peer.drain()] == ["alive"]
        assert peer.channel is not None
        counted = peer.channel.statistics()["orphans"] + server.session_statistics()[0].malformed
        assert counted >= 3


async def test_a_frame_over_the_limit_is_refused_and_the_next_one_read(server: Server, revision: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        peer.write(Oversize(size=64 * 2**20, limit=4 * 2**20))
        peer.write(ping(revision))
        refused, alive = await peer.drain()
    assert refused["error"]["code"] == -32600
    assert str(64 * 2**20) in refused["error"]["message"]
    assert str(4 * 2**20) in refused["error"]["message"]
    assert alive["id"] == "alive"


# ---------------------------------------------------------------------- strange but legal


@pytest.mark.parametrize("text", ["\u2028\u2029\x85", "a\nb\r\n", "\x00\x1f", "\U0001f600", "é" * 1000, ""])
async def test_text_survives_and_stays_on_one_line(server: Server, revision: Revision, text: str) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("echo", {"text": text})
        assert json.loads(result["content"][0]["text"]) == {"text": text}
        assert len(peer.raw[-1].decode().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        b'{"text":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"text":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        b"[" * DEEP + b"]" * DEEP,
        b'{"text":"\\ud800"}',
        b'{"text":1' + b"0" * 5000 + b"}",
        b'{"text":1e400}',
        b'{"text":-0.0}',
        b'{"text":1,"text":2}',
    ],
    ids=["deep list", "deep object", "deep root", "surrogate", "long integer", "infinity", "minus zero", "twice"],
)
async def test_odd_arguments_are_answered(server: Server, revision: Revision, arguments: bytes) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        meta = json.dumps(modern_meta()).encode() if revision is R26 else b"{}"
        for name in (b"echo", b"gone"):
            peer.write(
                b'{"jsonrpc":"2.0","id":"odd","method":"tools/call","params":{"name":"'
                + name
                + b'","arguments":'
                + arguments
                + b',"_meta":'
                + meta
                + b"}}"
            )
            (answer,) = await peer.drain()
            assert ("error" in answer) != ("result" in answer)
            assert answer.get("id", "odd") == "odd"
        peer.write(ping(revision))
        assert [answer["id"] for answer in await peer.drain()] == ["alive"]


@pytest.mark.parametrize("where", ["params", "meta", "params of nobody", "notification"])
async def test_deep_nesting_anywhere_is_survived(server: Server, revision: Revision, where: str) -> None:
    deep = b"[" * DEEP + b"]" * DEEP
    frames = {
        "params": b'{"jsonrpc":"2.0","id":"d","method":"tools/list","params":{"x":' + deep + b"}}",
        "meta": b'{"jsonrpc":"2.0","id":"d","method":"tools/list","params":{"_meta":{"x":' + deep + b"}}}",
        "params of nobody": b'{"jsonrpc":"2.0","id":"d","method":"no/such","params":' + deep + b"}",
        "notification": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":' + deep + b"}}",
    }
    async with wired(server) as peer:
        await peer.hello(revision)
        peer.write(frames[where])
        answers = await peer.drain()
        assert len(answers) <= 1
        if where != "notification":
            assert "error" in answers[0] or "tools" in answers[0]["result"]
        peer.write(ping(revision))
        assert [answer["id"] for answer in await peer.drain()] == ["alive"]


async def test_a_result_that_cannot_be_encoded_is_an_error(
    server: Server, revision: Revision, caplog: pytest.LogCaptureFixture
) -> None:
    nested: list[Any] = []
    for _ in range(DEEP):
        nested = [nested]

    @server.tool
    async def deep() -> CallToolResult:
        return CallToolResult(content=[], structured_content={"x": nested}, meta={"x": nested})

    @server.tool
    async def circular() -> CallToolResult:
        circle: dict[str, Any] = {}
        circle["me"] = circle
        return CallToolResult(content=[], structured_content=circle, meta=circle)

    @server.tool
    async def keys() -> CallToolResult:
        return CallToolResult(content=[], meta={(1, 2): 3})  # type: ignore[dict-item]

    async with wired(server) as peer:
        await peer.hello(revision)
        for name in ("deep", "circular", "keys"):
            response = await peer.ask("tools/call", {"name": name})
            assert response.get("error", {}).get("code") == -32603 or response["result"].get("isError")
        assert (await peer.call("echo", {"text": 1}))["content"]


async def test_progress_that_cannot_be_encoded_is_the_handlers_fault(server: Server, revision: Revision) -> None:
    @server.tool
    async def odd(ctx: Context) -> str:
        await ctx.log("error", object())
        return "never"

    async with wired(server) as peer:
        await peer.hello(revision, log_level="debug")
        assert (await peer.call("odd"))["isError"] is True


# ---------------------------------------------------------------------- ids


async def test_a_duplicate_id_is_refused_and_the_first_answered(server: Server, revision: Revision) -> None:
    go_on = anyio.Event()
    runs: list[str] = []

    @server.tool
    async def slow(text: str) -> str:
        runs.append(text)
        await go_on.wait()
        return text

    async with wired(server) as peer:
        await peer.hello(revision)
        for text in ("first", "second"):
            peer.request("tools/call", {"name": "slow", "arguments": {"text": text}}, id="same")
        for id in (7, "7"):  # of different types: different ids
            peer.request("tools/call", {"name": "slow", "arguments": {"text": repr(id)}}, id=id)
        refused = await peer.response("same")
        assert refused["error"] == {
            "code": -32600,
            "message": "a request with this id is still in flight; its answer will come, this one is refused",
        }
        await settle()
        go_on.set()
        answers = {repr(frame["id"]): frame["result"]["content"][0]["text"] for frame in await peer.drain()}
    assert answers == {"'same'": "first", "7": "7", "'7'": "'7'"}
    assert sorted(runs) == sorted(["first", "7", "'7'"])


# ---------------------------------------------------------------------- many at once


async def test_five_thousand_calls_against_a_limit_of_a_hundred(server: Server) -> None:
    server.limits = Limits(max_running=100, max_waiting=1000)
    running = most = ran = 0
    go_on = anyio.Event()

    @server.tool
    async def count(n: int) -> int:
        nonlocal running, most, ran
        running += 1
        most = max(most, running)
        await go_on.wait()
        await anyio.lowlevel.checkpoint()
        ran += 1
        running -= 1
        return n

    async with wired(server) as peer:
        ids = [peer.request("tools/call", {"name": "count", "arguments": {"n": n}}) for n in range(5000)]
        refused = [frame["id"] for frame in await peer.drain()]
        assert all(frame["error"]["code"] == CODE_SERVER_BUSY for frame in peer.seen)
        assert all("ask again later" in frame["error"]["message"] for frame in peer.seen)
        assert len(refused) == 3900
        go_on.set()
        answered = {frame["id"]: frame["result"]["structuredContent"]["result"] for frame in await peer.drain()}
    assert answered == {id: n for n, id in enumerate(ids) if id in answered}
    assert (most, ran, len(answered)) == (100, 1100, 1100)
    assert sorted([*refused, *answered]) == sorted(ids)
    assert len(peer.seen) == 5000


async def test_five_thousand_calls_of_one_client_all_succeed(server: Server) -> None:
    """Our own client keeps to the limit by itself: its calls wait for a place instead of being refused."""
    running = most = 0

    @server.tool
    async def count(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        return n

    seen: list[int] = []
    async with Client(server) as client:

        async def call(n: int) -> None:
            seen.append((await client.call_tool("count", {"n": n})).structured_content["result"])

        async with anyio.create_task_group() as tasks:
            for n in range(5000):
                tasks.start_soon(call, n)
    assert sorted(seen) == list(range(5000))
    assert most <= MAX_IN_FLIGHT


# ---------------------------------------------------------------------- a peer that stops reading


async def test_a_peer_that_stops_reading_costs_little_and_nobody_else(server: Server, revision: Revision) -> None:
    sent = 0

    @server.tool
    async def chatty(ctx: Context) -> str:
        nonlocal sent
        for n in range(1, 10_001):
            await ctx.send("com.example/filler", {"filler": "x" * 1000})
            sent = n
        return "done"

    async with wired(server, outbox_bytes=50_000) as deaf, wired(server) as other:
        for peer in (deaf, other):
            await peer.hello(revision)
            await peer.drain()
        deaf.stop_reading()
        for _ in range(10):
            deaf.request("tools/call", {"name": "chatty"})
        await settle()
        assert sent < 100
        assert deaf.channel is not None
        assert deaf.channel.statistics()["unwritten_bytes"] < 70_000
        assert (await other.call("echo", {"text": "fine"}))["content"]
        # It cannot hold up the end of the session either: the deadline of the flush is the limit.
        deaf.cut()
        await deaf.end()


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_deaf_peer_does_not_hold_up_the_end(server: Server) -> None:
    """Virtual time: the flush at the end has a deadline of seconds."""
    async with wired(server, outbox_bytes=100) as peer:
        peer.stop_reading()
        for _ in range(20):
            peer.request("tools/list")
        await settle()
        began = anyio.current_time()
        server.stop(1)
        with anyio.fail_after(60):
            await peer.ended.wait()
        assert anyio.current_time() - began < 20
        assert peer.pipe.closed


async def test_refusals_to_a_peer_that_stops_reading_do_not_pile_up(server: Server) -> None:
    """Every refusal is an answer: a peer that only asks must not make the server collect them."""
    server.limits = Limits(max_running=1, max_waiting=0)

    @server.tool
    async def slow() -> None:
        await anyio.sleep_forever()

    async with wired(server, outbox_bytes=1000) as peer:
        peer.stop_reading()
        for _ in range(1000):
            peer.request("tools/call", {"name": "slow"})
        await settle()
        assert peer.channel is not None
        assert peer.channel.statistics()["unwritten_bytes"] < 3000
        peer.read_again()
        assert len(await peer.drain()) == 999


async def test_malformed_frames_of_a_peer_that_stops_reading_do_not_pile_up(server: Server) -> None:
    async with wired(server, outbox_bytes=1000) as peer:
        peer.stop_reading()
        for _ in range(1000):
            peer.write(b"{")
        await settle()
        assert peer.channel is not None
        assert peer.channel.statistics()["unwritten_bytes"] < 3000
        peer.read_again()
        assert len(await peer.drain()) == 1000


# ---------------------------------------------------------------------- handlers that end oddly


class Weird(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        BaseExceptionGroup("hunter2", [Weird("hunter2")]),
        BaseExceptionGroup("hunter2", [Weird("hunter2"), ValueError("hunter2")]),
        SystemExit("hunter2"),
        MemoryError("hunter2"),
        RecursionError("hunter2"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_no_handler_ends_the_session_of_others(
    server: Server, revision: Revision, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = anyio.Event()

    @server.tool
    async def beside() -> str:
        await go_on.wait()
        return "unharmed"

    @server.tool
    async def odd() -> str:
        raise error

    async with wired(server) as peer:
        await peer.hello(revision)
        other = peer.request("tools/call", {"name": "beside"})
        response = await peer.ask("tools/call", {"name": "odd"})
        assert response.get("error", {}).get("code") == -32603 or response["result"]["isError"] is True
        go_on.set()
        assert (await peer.response(other))["result"]["content"][0]["text"] == "unharmed"
    assert b"hunter2" not in b"".join(peer.raw)
    assert "hunter2" in caplog.text


async def test_a_handler_that_outlives_its_client_does_no_harm(server: Server) -> None:
    go_on = anyio.Event()
    finished = anyio.Event()

    @server.tool
    async def stubborn(ctx: Context) -> str:
        with anyio.CancelScope(shield=True):
            await go_on.wait()
            await ctx.progress(1)
        finished.set()
        return "too late"

    async with wired(server) as peer, wired(server) as other:
        peer.request("tools/call", {"name": "stubborn"}, progressToken=1)
        await settle()
        peer.cut()
        go_on.set()
        with anyio.fail_after(PATIENCE):
            await finished.wait()
        await peer.end()
        assert (await other.call("echo"))["content"]


async def test_raw_results_of_a_handler_are_sent_as_they_are(server: Server) -> None:
    @server.method("com.example/raw")
    async def raw(ctx: Context, params: Any) -> Any:
        return msgspec.Raw(b'{"a":\n1}')

    async with wired(server) as peer:
        assert await peer.result("com.example/raw") == {"a": 1}
        assert b"\n" not in peer.raw[-1]
