"""Listening for changes with servers that behave in every way; what a good server sends is in test_changes."""

from typing import Any

import anyio
import pytest
from core.scripted import Frame, Peer, Scripted, discovered, handshake, stateless

from mcpcore import Client, ConnectionLost, DeadlineExceeded, PeerError, RequestError
from mcpcore.jsonrpc import Notification
from mcpcore.listening import Changed, Listener, changed_by

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
on_virtual_time = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
"""For tests in which time has to pass: only trio has a clock that jumps."""

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


def stamp(frame: Frame) -> Frame:
    return {"_meta": {"io.modelcontextprotocol/subscriptionId": frame["id"]}}


async def acknowledge(peer: Peer, frame: Frame) -> None:
    await peer.notify(frame, ACKNOWLEDGED, {"notifications": frame["params"]["notifications"], **stamp(frame)})


# ---------------------------------------------------------------------- the listener itself


async def test_a_change_that_waits_is_not_repeated_and_order_is_kept() -> None:
    listener = Listener(lists=frozenset({"tools", "prompts"}), uris=frozenset({"a://b"}))
    for change in (Changed("tools"), Changed("resource", "a://b"), Changed("tools"), Changed("prompts")):
        listener.offer(change)
    listener.end()
    assert [change async for change in listener] == [Changed("tools"), Changed("resource", "a://b"), Changed("prompts")]


async def test_what_was_not_asked_for_is_not_heard() -> None:
    listener = Listener(lists=frozenset({"tools"}), uris=frozenset({"a://b"}))
    for change in (Changed("prompts"), Changed("resources"), Changed("resource", "a://c")):
        listener.offer(change)
    listener.end()
    assert [change async for change in listener] == []


async def test_a_lost_connection_is_told_after_what_has_arrived() -> None:
    listener = Listener(lists=frozenset({"tools"}), uris=frozenset())
    listener.offer(Changed("tools"))
    listener.end(ConnectionLost("gone"))
    listener.offer(Changed("tools"))
    assert await anext(listener) == Changed("tools")
    with pytest.raises(ConnectionLost, match="gone"):
        await anext(listener)


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("notifications/tools/list_changed", {}, Changed("tools")),
        ("notifications/prompts/list_changed", {}, Changed("prompts")),
        ("notifications/resources/list_changed", {}, Changed("resources")),
        ("notifications/resources/updated", {"uri": "a://b"}, Changed("resource", "a://b")),
        ("notifications/progress", {"progressToken": 1, "progress": 1}, None),
    ],
)
async def test_what_a_notification_says(method: str, params: Frame, expected: Changed | None) -> None:
    assert changed_by(Notification(method, params)) == expected


# ---------------------------------------------------------------------- 2026-07-28


async def test_leaving_cancels_the_subscription_at_the_server() -> None:
    gone = anyio.Event()

    async def answer(peer: Peer, frame: Frame) -> None:
        await acknowledge(peer, frame)
        await peer.cancelled[frame["id"]].wait()
        gone.set()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(answer))) as client:
            async with client.listen(tools=True):
                pass
            await gone.wait()
            assert client.statistics().awaited == 0


async def test_a_refused_subscription_is_an_error_of_the_server() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        return RequestError(-31503, "too many")

    async with Client(Scripted(stateless(answer))) as client:
        with pytest.raises(PeerError, match="too many"):
            async with client.listen(tools=True):
                raise AssertionError
        assert client.statistics().awaited == 0


@on_virtual_time
async def test_a_subscription_that_nobody_acknowledges_fails_in_time() -> None:
    async def answer(peer: Peer, frame: Frame) -> None: ...

    async with Client(Scripted(stateless(answer))) as client:
        started = anyio.current_time()
        with pytest.raises(DeadlineExceeded, match="listen"):
            async with client.listen(tools=True, timeout=3):
                raise AssertionError
        assert anyio.current_time() - started == pytest.approx(3)
        assert client.statistics().awaited == 0


@pytest.mark.parametrize("ending", [{"resultType": "complete"}, RequestError(-31503, "stopping")])
async def test_a_subscription_that_the_server_ends_ends_the_iteration(ending: Any) -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        await acknowledge(peer, frame)
        await peer.notify(frame, "notifications/tools/list_changed", stamp(frame))
        return ending

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(answer))) as client, client.listen(tools=True) as changes:
            assert [change async for change in changes] == [Changed("tools")]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_lost_connection_ends_the_iteration_with_an_error(era: str) -> None:
    async def serve(peer: Peer) -> None:
        async for frame in peer:
            if frame["method"] == "subscriptions/listen":
                await acknowledge(peer, frame)
            elif frame["method"] == "server/discover":
                await peer.answer(frame, discovered("2026-07-28"))
            elif frame["method"] == "initialize":
                capabilities = discovered()["capabilities"]
                info = {"name": "x", "version": "1"}
                await peer.answer(
                    frame, {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
                )
            elif frame["method"] == "prompts/list":
                return

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(serve), era=era) as client, client.listen(tools=True) as changes:
            with pytest.raises(ConnectionLost):
                await client.list_prompts()
            with pytest.raises(ConnectionLost):
                await anext(changes)


async def test_closing_the_client_ends_the_iteration() -> None:
    async def answer(peer: Peer, frame: Frame) -> None:
        await acknowledge(peer, frame)

    seen: list[Changed] = []
    listening, ended = anyio.Event(), anyio.Event()

    async def listen(client: Client) -> None:
        async with client.listen(tools=True) as changes:
            listening.set()
            async for change in changes:
                seen.append(change)
        ended.set()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            async with Client(Scripted(stateless(answer))) as client:
                tasks.start_soon(listen, client)
                await listening.wait()
                await client.aclose()
                await ended.wait()
    assert seen == []


# ---------------------------------------------------------------------- the handshake era


async def test_a_resource_is_subscribed_to_once_however_many_listen() -> None:
    asked: list[tuple[str, str]] = []

    async def answer(peer: Peer, frame: Frame) -> Any:
        asked.append((frame["method"], frame["params"]["uri"]))
        return {}

    async with Client(Scripted(handshake(answer))) as client:
        async with client.listen(resources=["a://b"]), client.listen(resources=["a://b", "a://c"]):
            assert asked == [("resources/subscribe", "a://b"), ("resources/subscribe", "a://c")]
        assert sorted(asked[2:]) == [("resources/unsubscribe", "a://b"), ("resources/unsubscribe", "a://c")]


async def test_a_refused_resource_is_an_error_and_leaves_nothing_subscribed() -> None:
    asked: list[tuple[str, str]] = []

    async def answer(peer: Peer, frame: Frame) -> Any:
        asked.append((frame["method"], frame["params"]["uri"]))
        return RequestError(-32002, "no such resource") if frame["params"]["uri"] == "a://c" else {}

    async with Client(Scripted(handshake(answer))) as client:
        with pytest.raises(PeerError, match="no such resource"):
            async with client.listen(resources=["a://b", "a://c"]):
                raise AssertionError
    assert ("resources/unsubscribe", "a://b") in asked


async def test_changes_of_the_handshake_era_come_by_themselves() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        await peer.announce("notifications/tools/list_changed")
        await peer.announce("notifications/resources/updated", {"uri": "a://other"})
        await peer.announce("notifications/resources/updated", {})  # says nothing
        await peer.announce("notifications/prompts/list_changed")
        return {"contents": []}

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(handshake(answer))) as client:
            async with client.listen(tools=True, prompts=True) as changes:
                await client.read_resource("a://b")
                assert [await anext(changes), await anext(changes)] == [Changed("tools"), Changed("prompts")]


@on_virtual_time
async def test_leaving_does_not_wait_for_ever_for_a_silent_server() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        return {} if frame["method"] == "resources/subscribe" else None

    async with Client(Scripted(handshake(answer))) as client:
        started = anyio.current_time()
        async with client.listen(resources=["a://b", "a://c"]):
            pass
        assert anyio.current_time() - started <= 5.1
