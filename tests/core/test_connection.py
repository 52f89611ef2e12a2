"""Which era a client ends up speaking, with servers of every kind (spec-checklist ERA-08 … ERA-19), and how a
connection begins and ends."""

import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from core.scripted import INITIALIZED, Frame, Peer, Scripted, discovered, handshake, stateless

from mcpcore import (
    Client,
    ConnectFailed,
    ConnectionLost,
    LocalProtocolError,
    PeerError,
    RequestError,
    Server,
    open_client,
)
from mcpcore.channel import Envelope, Inbox, memory_pair
from mcpcore.connection import CONNECT_SECONDS
from mcpcore.eras.negotiation import PROBE_SECONDS
from mcpcore.jsonrpc import Notification, Request, Response
from mcpcore.revisions import LATEST_HANDSHAKE, Era, Revision
from mcpcore.types import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
on_virtual_time = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
"""For tests in which a deadline has to pass: only trio has a clock that jumps."""


def legacy(
    probe_answer: Any, seen: list[Frame] | None = None, initialize: Any = INITIALIZED
) -> Callable[[Peer], Awaitable[None]]:
    """A server that knows nothing of server/discover; None is silence."""

    async def serve(peer: Peer) -> None:
        async for frame in peer:
            if seen is not None:
                seen.append(frame)
            if frame["method"] == "server/discover":
                if probe_answer is not None:
                    await peer.answer(frame, probe_answer)
            elif frame["method"] == "initialize":
                await peer.answer(frame, initialize)
            elif "id" in frame:
                await peer.answer(frame, {"tools": []})

    return serve


async def nothing(peer: Peer, frame: Frame) -> Any:
    return {}


def methods(frames: list[Frame]) -> list[str]:
    return [frame["method"] for frame in frames]


# ---------------------------------------------------------------------- the probe


async def test_the_first_message_is_a_probe_with_the_terms_of_a_request() -> None:
    seen: list[Frame] = []
    async with Client(Scripted(legacy(discovered("2026-07-28"), seen)), roots=[]) as client:
        assert client.revision is Revision.R2026_07_28
        assert client.capabilities.tools is not None
    (probe,) = seen
    assert probe["method"] == "server/discover"
    meta = probe["params"]["_meta"]
    assert meta[META_PROTOCOL_VERSION] == "2026-07-28"
    assert meta[META_CLIENT_CAPABILITIES] == {"roots": {}}


UNSUPPORTED = -32022
FALLS_BACK = {
    "method not found": RequestError(-32601, "Method not found"),
    "invalid params": RequestError(-32602, "Invalid request parameters"),
    "invalid request": RequestError(-32600, "Server not initialized"),
    "server error": RequestError(-32000, "Received request before initialization was complete"),
    "code zero": RequestError(0, ""),
    "a positive code": RequestError(400, "bad"),
    "an old code for a resource": RequestError(-32002, "Server not initialized"),
    "garbage": b'{"hello": "world"}',
    "no object": b"[1, 2]",
    "null": b"null",
    "versions that are no list": {"supportedVersions": "2026-07-28", "capabilities": {}},
    "a result with older versions only": discovered("2025-06-18", "2025-11-25"),
    "unsupported, and older versions only": RequestError(UNSUPPORTED, "", {"supported": ["2025-11-25"]}),
    "unsupported, and none named": RequestError(UNSUPPORTED, ""),
    "unsupported, and nonsense named": RequestError(UNSUPPORTED, "", {"supported": "all"}),
}


@pytest.mark.parametrize("answer", FALLS_BACK.values(), ids=FALLS_BACK)
async def test_any_answer_that_is_not_modern_leads_to_the_handshake(answer: Any) -> None:
    seen: list[Frame] = []
    transport = Scripted(legacy(answer, seen))
    async with Client(transport) as client:
        assert client.revision is LATEST_HANDSHAKE
        assert await client.list_tools() == []
    assert methods(seen) == ["server/discover", "initialize", "notifications/initialized", "tools/list"]
    assert transport.connections == 1
    assert "_meta" not in seen[-1].get("params", {})


def late(seen: list[Frame], *, knows_discover: bool = True) -> Callable[[Peer], Awaitable[None]]:
    """A server of both eras that reads nothing before the probe was given up, and is bound to its era by it."""

    async def serve(peer: Peer) -> None:
        await anyio.sleep(PROBE_SECONDS + 1)
        async for frame in peer:
            seen.append(frame)
            if frame["method"] == "server/discover" and (frame["id"] in peer.cancelled and len(seen) == 1):
                continue  # its answer would reach nobody
            if frame["method"] == "server/discover" and knows_discover:
                await peer.answer(frame, discovered("2026-07-28"))
            elif "id" in frame:
                data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
                await peer.answer(frame, RequestError(UNSUPPORTED, "not here", data))

    return serve


@on_virtual_time
async def test_a_server_that_starts_late_and_takes_the_probe_for_its_era_is_used_in_that_era() -> None:
    seen: list[Frame] = []
    async with Client(Scripted(late(seen))) as client:
        assert client.revision is Revision.R2026_07_28
    assert methods(seen) == ["server/discover", "initialize", "server/discover"]


@on_virtual_time
async def test_a_server_that_names_a_revision_and_does_not_speak_it_is_given_up() -> None:
    seen: list[Frame] = []
    with pytest.raises(ConnectFailed):
        async with Client(Scripted(late(seen, knows_discover=False))):
            pass
    assert len(seen) <= 5


@on_virtual_time
async def test_a_handshake_that_was_asked_for_is_not_left_because_it_is_refused() -> None:
    seen: list[Frame] = []
    with pytest.raises(ConnectFailed, match="it speaks 2026-07-28"):
        async with Client(Scripted(late(seen)), era="legacy"):
            pass
    assert methods(seen) == ["initialize"]


@on_virtual_time
async def test_silence_leads_to_the_handshake_after_the_probe_time() -> None:
    seen: list[Frame] = []
    started = anyio.current_time()
    async with Client(Scripted(legacy(None, seen))) as client:
        assert client.revision is LATEST_HANDSHAKE
    assert anyio.current_time() - started == pytest.approx(PROBE_SECONDS)
    assert methods(seen)[:2] == ["server/discover", "initialize"]


async def test_a_server_that_exits_on_the_probe_is_started_again() -> None:
    seen: list[Frame] = []

    async def exits(peer: Peer) -> None:
        seen.append(await anext(peer))

    transport = Scripted(exits, legacy(None, seen))
    async with Client(transport) as client:
        assert client.revision is LATEST_HANDSHAKE
        assert await client.list_tools() == []
    assert methods(seen)[:2] == ["server/discover", "initialize"]
    assert (transport.connections, transport.closed) == (2, 2)


async def test_a_server_that_exits_on_everything_is_not_started_a_third_time() -> None:
    async def exits(peer: Peer) -> None:
        await anext(peer)

    transport = Scripted(exits)
    with pytest.raises(ConnectFailed, match="went away when it was asked to initialize"):
        async with Client(transport):
            raise AssertionError
    assert (transport.connections, transport.closed) == (2, 2)


async def test_a_server_that_exits_on_the_probe_fails_a_modern_client() -> None:
    async def exits(peer: Peer) -> None:
        await anext(peer)

    transport = Scripted(exits)
    with pytest.raises(ConnectFailed):
        async with Client(transport, era="modern"):
            raise AssertionError
    assert transport.connections == 1


async def test_unsupported_with_a_common_version_is_probed_again_once() -> None:
    seen: list[Frame] = []

    async def serve(peer: Peer) -> None:
        async for frame in peer:
            seen.append(frame)
            await peer.answer(frame, RequestError(UNSUPPORTED, "not yet", {"supported": ["2026-07-28"]}))

    with pytest.raises(ConnectFailed, match="2026-07-28"):
        async with Client(Scripted(serve)):
            raise AssertionError
    # One retry with a version that the server names, even the one just tried; then it contradicts itself, and a
    # modern error is no reason to fall back.
    assert methods(seen) == ["server/discover"] * 2


@pytest.mark.parametrize(
    "answer", [discovered("2027-01-01"), RequestError(UNSUPPORTED, "", {"supported": ["2027-01-01"]})]
)
async def test_no_version_in_common_fails_and_names_both_sides(answer: Any) -> None:
    seen: list[Frame] = []
    with pytest.raises(ConnectFailed, match=r"2027-01-01.*2026-07-28"):
        async with Client(Scripted(legacy(answer, seen))):
            raise AssertionError
    assert methods(seen) == ["server/discover"]


@pytest.mark.parametrize("code", [-32020, -32021])
async def test_other_modern_errors_are_no_reason_to_fall_back(code: int) -> None:
    seen: list[Frame] = []
    with pytest.raises(ConnectFailed, match=str(code)):
        async with Client(Scripted(legacy(RequestError(code, "no"), seen))):
            raise AssertionError
    assert methods(seen) == ["server/discover"]


# ---------------------------------------------------------------------- one era only


@pytest.mark.parametrize("answer", FALLS_BACK.values(), ids=FALLS_BACK)
async def test_a_modern_client_fails_with_a_legacy_server_and_says_what_to_do(answer: Any) -> None:
    seen: list[Frame] = []
    with pytest.raises(ConnectFailed, match="era='auto'"):
        async with Client(Scripted(legacy(answer, seen)), era="modern"):
            raise AssertionError
    assert methods(seen) == ["server/discover"]


async def test_a_legacy_client_does_not_probe() -> None:
    seen: list[Frame] = []
    async with Client(Scripted(legacy(discovered("2026-07-28"), seen)), era="legacy") as client:
        assert client.revision is LATEST_HANDSHAKE
    assert methods(seen) == ["initialize", "notifications/initialized"]


@pytest.mark.parametrize("era", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_revision_can_be_pinned(era: str) -> None:
    seen: list[Frame] = []
    served = {**INITIALIZED, "protocolVersion": era}
    async with Client(Scripted(legacy(None, seen, served)), era=era) as client:
        assert client.revision == era
    assert seen[0]["method"] == "initialize"
    assert seen[0]["params"]["protocolVersion"] == era


async def test_an_unknown_era_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="2025-11-25"):
        async with Client(Server("x"), era="2025-12-24"):
            raise AssertionError


async def test_an_older_answer_to_initialize_is_taken_and_an_unknown_one_refused() -> None:
    async with Client(
        Scripted(legacy(None, None, {**INITIALIZED, "protocolVersion": "2024-11-05"})), era="legacy"
    ) as c:
        assert c.revision is Revision.R2024_11_05
    for version in ("2023-01-01", "2026-07-28"):
        served = {**INITIALIZED, "protocolVersion": version}
        with pytest.raises(ConnectFailed, match=version):
            async with Client(Scripted(legacy(None, None, served)), era="legacy"):
                raise AssertionError


async def test_a_refused_initialize_tells_what_the_server_speaks() -> None:
    refusal = RequestError(-32601, "no handshake here", {"supported": ["2026-07-28"]})
    with pytest.raises(ConnectFailed, match=r"no handshake here.*2026-07-28"):
        async with Client(Scripted(legacy(None, None, refusal)), era="legacy"):
            raise AssertionError


@pytest.mark.parametrize("result", [b"{}", b"[]", {**INITIALIZED, "capabilities": 3}])
async def test_a_garbled_answer_to_initialize_is_a_failure_to_connect(result: Any) -> None:
    with pytest.raises(ConnectFailed):
        async with Client(Scripted(legacy(None, None, result)), era="legacy"):
            raise AssertionError


@on_virtual_time
async def test_a_server_that_answers_nothing_at_all_fails_in_time() -> None:
    async def silent(peer: Peer) -> None:
        async for _ in peer:
            pass

    started = anyio.current_time()
    transport = Scripted(silent)
    with pytest.raises(ConnectFailed, match="within"):
        async with Client(transport):
            raise AssertionError
    assert anyio.current_time() - started <= CONNECT_SECONDS + 1
    assert transport.closed == 1


ERAS = [
    ("auto", {Era.MODERN, Era.LEGACY}, "2026-07-28"),
    ("auto", {Era.MODERN}, "2026-07-28"),
    ("auto", {Era.LEGACY}, "2025-11-25"),
    ("modern", {Era.MODERN, Era.LEGACY}, "2026-07-28"),
    ("modern", {Era.MODERN}, "2026-07-28"),
    ("modern", {Era.LEGACY}, None),
    ("legacy", {Era.MODERN, Era.LEGACY}, "2025-11-25"),
    ("legacy", {Era.MODERN}, None),
    ("legacy", {Era.LEGACY}, "2025-11-25"),
    ("2025-03-26", {Era.LEGACY}, "2025-03-26"),
    ("2026-07-28", {Era.MODERN, Era.LEGACY}, "2026-07-28"),
    ("2026-07-28", {Era.LEGACY}, None),
]


@pytest.mark.parametrize(("choice", "eras", "expected"), ERAS)
async def test_the_matrix_with_our_own_server(choice: str, eras: set[Era], expected: str | None) -> None:
    server = Server("matrix", eras=eras)
    if expected is None:
        with pytest.raises(ConnectFailed):
            async with Client(server, era=choice):
                raise AssertionError
        return
    async with Client(server, era=choice) as client:
        assert client.revision == expected
        await client.ping()


@pytest.mark.parametrize("code", [-32601, -32022, -32600])
async def test_an_established_connection_never_changes_its_era(code: int) -> None:
    seen: list[Frame] = []

    async def answer(peer: Peer, frame: Frame) -> Any:
        seen.append(frame)
        return RequestError(code, "no", {"supported": ["2025-11-25"]})

    async with Client(Scripted(stateless(answer))) as client:
        for _ in range(2):
            with pytest.raises(PeerError) as refused:
                await client.get_prompt("x")
            assert refused.value.code == code
        assert client.revision is Revision.R2026_07_28
    assert methods(seen) == ["prompts/get", "prompts/get"]


# ---------------------------------------------------------------------- the end


async def test_a_connection_that_ends_is_told_to_calls_now_and_later() -> None:
    async def serve(peer: Peer) -> None:
        await peer.answer(await anext(peer), discovered("2026-07-28"))
        await anext(peer)

    async with Client(Scripted(serve)) as client:
        with pytest.raises(ConnectionLost):
            await client.call_tool("x")
        with pytest.raises(ConnectionLost):
            await client.call_tool("x")


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    client = Client(Server("x"))
    with pytest.raises(ZeroDivisionError):
        async with client:
            raise ZeroDivisionError
    with pytest.raises(anyio.ClosedResourceError):
        await client.ping()


async def test_a_client_works_in_an_exit_stack_beside_others() -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(Server(f"s{number}"))) for number in range(3)]
        for client in clients:
            await client.ping()
        assert [client.server_info.name for client in clients if client.server_info] == ["s0", "s1", "s2"]


async def test_a_client_is_entered_once() -> None:
    async with Client(Server("x")) as client:
        with pytest.raises(LocalProtocolError, match="another one"):
            await client.__aenter__()
        await client.ping()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_opened_used_and_closed_in_different_tasks(era: str) -> None:
    server = Server("x")

    @server.tool(inline=True)
    def add(a: int, b: int) -> int:
        return a + b

    with anyio.fail_after(PATIENCE_SECONDS):
        for _ in range(50):
            async with anyio.create_task_group() as owners:
                opened: list[Client] = []

                async def open_one(opened: list[Client] = opened, owners: Any = owners) -> None:
                    opened.append(await open_client(server, owners, era=era))

                async def use(opened: list[Client] = opened) -> None:
                    result = await opened[0].call_tool("add", {"a": 1, "b": 2})
                    assert result.structured_content == {"result": 3}

                async def close(opened: list[Client] = opened) -> None:
                    await opened[0].aclose()

                for step in ((open_one,), (use, use), (close, close)):
                    async with anyio.create_task_group() as tasks:
                        for work in step:
                            tasks.start_soon(work)
                with pytest.raises(anyio.ClosedResourceError):
                    await opened[0].ping()
        gc.collect()
        assert server.statistics().sessions == 0


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_closing_while_calls_wait_ends_them(era: str) -> None:
    running, stopped = anyio.Event(), anyio.Event()
    server = Server("x")

    @server.tool
    async def hang() -> None:
        running.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async def call(client: Client) -> None:
        with pytest.raises((ConnectionLost, anyio.ClosedResourceError)):
            await client.call_tool("hang")

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as owners:
            client = await open_client(server, owners, era=era)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, client)
                await running.wait()
                await client.aclose()
            await stopped.wait()


async def test_a_cancelled_owner_closes_the_connection() -> None:
    transport = Scripted(handshake(nothing))
    async with anyio.create_task_group() as owners:
        client = await open_client(transport, owners)
        owners.cancel_scope.cancel()
    assert transport.closed == 1
    with pytest.raises((ConnectionLost, anyio.ClosedResourceError)):
        await client.ping()
    with anyio.fail_after(PATIENCE_SECONDS):
        await client.aclose()


async def test_a_client_may_send_its_first_calls_behind_initialize_without_waiting() -> None:
    """As `server < file` does. Tasks start in any order on trio, so it is tried until luck is no explanation."""
    server = Server("x")
    server.tool(name="one")(lambda: 1)
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    for _ in range(20):
        ours, theirs = memory_pair()
        inboxes = [Inbox() for _ in range(4)]
        await ours.send(Envelope(Request(0, "initialize", params), inboxes[0]))
        await ours.send(Envelope(Notification("notifications/initialized", {})))
        for id in range(1, 4):
            await ours.send(Envelope(Request(id, "tools/list", {}), inboxes[id]))
        await ours.send_eof()
        await server.serve_channel(theirs, grace=PATIENCE_SECONDS)
        for inbox in inboxes:
            assert isinstance((await inbox.receive()).message, Response)
