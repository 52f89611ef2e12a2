"""Changes: one call, both eras, and nothing to whoever did not ask."""

from typing import Any

import anyio
import pytest
from core.wire import PATIENCE, Frame, Peer, settle, wired

from mcpcore import Client, Limits, MissingCapability, Server, watching
from mcpcore.changes import LIST_CHANGED, RESOURCE_UPDATED, Change, Publisher, Subscriber
from mcpcore.errors import CODE_SERVER_BUSY
from mcpcore.listening import Changed
from mcpcore.revisions import REVISIONS, Era, Revision

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
URI = "config://app"


def tool(server: Server, name: str = "more") -> None:
    server.tool(name=name)(lambda: 1)


def prompt(server: Server) -> None:
    server.prompt(name="more")(lambda: "x")


def resource(server: Server) -> None:
    server.resource("config://more", name="more")(lambda: "x")


def template(server: Server) -> None:
    server.resource("config://more/{x}", name="more")(lambda x: "x")


@pytest.fixture
def server() -> Server:
    server = Server("s")
    server.tool(name="t")(lambda: 1)
    server.prompt(name="p")(lambda: "x")
    server.resource(URI, name="r")(lambda: "x")
    return server


async def follow(peer: Peer, revision: Revision, *, uris: list[str] | None = None, **lists: bool) -> int | str | None:
    """Hear of list changes and these URIs, in the way of the revision. Returns the id of the listen."""
    await peer.hello(revision)
    if revision.era is Era.LEGACY:
        for uri in uris or ():
            assert await peer.result("resources/subscribe", {"uri": uri}) == {}
        await peer.drain()
        return None
    wanted: Frame = {**(lists or ALL), **({"resourceSubscriptions": uris} if uris else {})}
    id: int | str = peer.request("subscriptions/listen", {"notifications": wanted})
    await peer.until("notifications/subscriptions/acknowledged")
    return id


@pytest.mark.parametrize(
    ("change", "method"),
    [(tool, "tools"), (prompt, "prompts"), (resource, "resources"), (template, "resources")],
)
async def test_a_list_that_changes_is_noticed_by_itself(
    server: Server, revision: Revision, change: Any, method: str
) -> None:
    async with wired(server) as peer:
        id = await follow(peer, revision)
        change(server)
        frame = await peer.receive()
        assert await peer.drain() == []
    expected: Frame = {"jsonrpc": "2.0", "method": f"notifications/{method}/list_changed"}
    params = {"_meta": {SUBSCRIPTION: id}} if revision is R26 else {}
    assert frame in ({**expected, "params": params}, expected)


async def test_removing_is_a_change_too(server: Server, revision: Revision) -> None:
    tool(server)
    resource(server)
    prompt(server)
    async with wired(server) as peer:
        await follow(peer, revision)
        server.remove_tool("more")
        server.remove_resource("config://more")
        server.remove_prompt("more")
        assert [frame["method"] for frame in await peer.drain()] == [
            LIST_CHANGED["tools"],
            LIST_CHANGED["resources"],
            LIST_CHANGED["prompts"],
        ]


async def test_an_updated_resource_is_told_to_who_watches_it(server: Server, revision: Revision) -> None:
    async with wired(server) as peer:
        id = await follow(peer, revision, uris=[URI])
        await server.notify_resource_updated("config://other")
        await server.notify_resource_updated(URI)
        (frame,) = await peer.drain()
    params: Frame = {"uri": URI}
    if revision is R26:
        params["_meta"] = {SUBSCRIPTION: id}
    assert frame == {"jsonrpc": "2.0", "method": RESOURCE_UPDATED, "params": params}


async def test_after_unsubscribing_nothing_is_told(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await follow(peer, legacy, uris=[URI, "config://b"])
        assert await peer.result("resources/unsubscribe", {"uri": URI}) == {}
        assert await peer.result("resources/unsubscribe", {"uri": "config://never"}) == {}
        await server.notify_resource_updated(URI)
        await server.notify_resource_updated("config://b")
        (frame,) = await peer.drain()
        assert frame["params"]["uri"] == "config://b"


async def test_one_call_reaches_both_eras_at_once(server: Server) -> None:
    async with (
        wired(server) as old,
        wired(server) as new,
        Client(server) as modern,
        Client(server, era="legacy") as client,
    ):
        await follow(old, R25_11, uris=[URI])
        await follow(new, R26, uris=[URI])
        async with modern.listen(resources=[URI]) as ours, client.listen(resources=[URI]) as theirs:
            await server.notify_resource_updated(URI)
            for changes in (ours, theirs):
                with anyio.fail_after(PATIENCE):
                    assert await anext(changes) == Changed("resource", URI)
        assert [len(await peer.drain()) for peer in (old, new)] == [1, 1]


async def test_before_initialized_a_session_is_sent_nothing(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await peer.initialize(legacy)
        tool(server)
        assert await peer.drain() == []
        peer.notify("notifications/initialized")
        await peer.drain()
        tool(server, "another")
        assert [frame["method"] for frame in await peer.drain()] == [LIST_CHANGED["tools"]]


async def test_a_kind_that_was_declared_stays_so_when_its_last_entry_is_removed(legacy: Revision) -> None:
    server = Server("s")
    tool(server)
    async with wired(server) as peer:
        await follow(peer, legacy)
        server.remove_tool("more")
        assert [frame["method"] for frame in await peer.drain()] == [LIST_CHANGED["tools"]]
        assert await peer.result("tools/list") == {"tools": []}


# ---------------------------------------------------------------------- subscriptions/listen


async def test_the_acknowledgement_comes_first_and_says_what_is_honoured(server: Server) -> None:
    async with wired(server) as peer:
        id = peer.request("subscriptions/listen", {"notifications": {**ALL, "resourceSubscriptions": [URI]}}, id="s1")
        tool(server)
        frame = await peer.receive()
        assert frame == {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {
                "_meta": {SUBSCRIPTION: id},
                "notifications": {**ALL, "resourceSubscriptions": [URI]},
            },
        }


async def test_what_is_not_offered_is_left_out_of_the_acknowledgement() -> None:
    server = Server("s")
    tool(server)
    async with wired(server) as peer:
        wanted = {**ALL, "resourceSubscriptions": [URI], "taskIds": ["t"], "somethingElse": True}
        peer.request("subscriptions/listen", {"notifications": wanted})
        frame = await peer.receive()
        assert frame["params"]["notifications"] == {"toolsListChanged": True}
        await server.notify_resource_updated(URI)
        assert await peer.drain() == []


@pytest.mark.parametrize("kind", ["tools", "prompts", "resources"])
async def test_only_what_was_asked_for_is_sent(server: Server, kind: str) -> None:
    async with wired(server) as peer:
        await follow(peer, R26, **{f"{kind}ListChanged": True})
        tool(server)
        prompt(server)
        resource(server)
        await server.notify_resource_updated(URI)
        assert [frame["method"] for frame in await peer.drain()] == [LIST_CHANGED[kind]]


async def test_nothing_is_sent_without_a_listen(server: Server) -> None:
    async with wired(server) as peer:
        await peer.result("tools/list")
        tool(server)
        await server.notify_resource_updated(URI)
        assert await peer.drain() == []


async def test_several_listens_are_told_apart(server: Server) -> None:
    async with wired(server) as peer:
        one = peer.request("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="one")
        two = peer.request("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id=2)
        await peer.drain()
        tool(server)
        assert {frame["params"]["_meta"][SUBSCRIPTION] for frame in await peer.drain()} == {one, two}


async def test_cancelling_ends_it_without_an_answer(server: Server) -> None:
    async with wired(server) as peer:
        id = await follow(peer, R26)
        assert server.statistics().listeners == 1
        peer.notify("notifications/cancelled", {"requestId": id})
        tool(server)
        assert await peer.drain() == []
        assert server.statistics().listeners == 0


async def test_a_session_that_ends_answers_its_listens(server: Server) -> None:
    async with wired(server) as peer:
        id = await follow(peer, R26)
        peer.eof()
        frame = await peer.response(id or 0)
        assert frame["result"]["resultType"] == "complete"
        assert frame["result"]["_meta"][SUBSCRIPTION] == id
        await peer.end()
        assert server.statistics().listeners == 0


async def test_a_server_that_stops_answers_its_listens(server: Server) -> None:
    async with wired(server) as peer:
        id = await follow(peer, R26)
        server.stop(5)
        assert (await peer.response(id or 0))["result"]["_meta"][SUBSCRIPTION] == id
        await peer.end()


@pytest.mark.parametrize("params", [{}, {"notifications": 5}, {"notifications": {"toolsListChanged": "yes"}}])
async def test_a_listen_needs_a_filter(server: Server, params: Frame) -> None:
    async with wired(server) as peer:
        assert (await peer.error("subscriptions/listen", params))["code"] == -32602


async def test_more_uris_than_the_limit_are_refused(
    server: Server, revision: Revision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MAX_SUBSCRIPTIONS", 5)
    uris = [f"config://{n}" for n in range(6)]
    async with wired(server) as peer:
        await peer.hello(revision)
        if revision is R26:
            error = await peer.error("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}})
        else:
            for uri in uris[:-1]:
                assert await peer.result("resources/subscribe", {"uri": uri}) == {}
            assert await peer.result("resources/subscribe", {"uri": uris[0]}) == {}  # again is no more
            error = await peer.error("resources/subscribe", {"uri": uris[-1]})
    assert error["code"] == -32602
    assert "5" in error["message"]


async def test_more_listens_than_the_limit_are_refused(server: Server) -> None:
    server.limits = Limits(max_streams=2)

    @server.tool
    async def plain() -> str:
        return "answered"

    async with wired(server) as peer:
        for id in (1, 2):
            peer.request("subscriptions/listen", {"notifications": ALL}, id=id)
        await peer.drain()
        error = await peer.error("subscriptions/listen", {"notifications": ALL}, id=3)
        assert error == {"code": CODE_SERVER_BUSY, "message": "2 streams are open, which is the limit; close one first"}
        assert (await peer.call("plain"))["content"]  # listens take no place from calls
        peer.notify("notifications/cancelled", {"requestId": 1})
        await peer.drain()
        peer.request("subscriptions/listen", {"notifications": ALL}, id=4)
        assert [frame["method"] for frame in await peer.drain()] == ["notifications/subscriptions/acknowledged"]


async def test_a_slow_listener_is_told_each_thing_once(server: Server, revision: Revision) -> None:
    async with wired(server, outbox_bytes=200) as peer:
        await follow(peer, revision, uris=[URI])
        peer.stop_reading()
        for n in range(500):
            tool(server, f"t{n}")
            await server.notify_resource_updated(URI)
        await settle()
        assert peer.channel is not None
        assert peer.channel.statistics()["unwritten_bytes"] < 2000
        peer.read_again()
        methods = [frame["method"] for frame in await peer.drain()]
    assert set(methods) == {LIST_CHANGED["tools"], RESOURCE_UPDATED}
    assert len(methods) < 20


async def test_a_listen_in_memory_ends_when_the_server_stops(server: Server) -> None:
    heard = []
    async with Client(server) as client:
        with anyio.fail_after(PATIENCE):
            async with client.listen(tools=True) as changes:
                tool(server)
                async for change in changes:
                    heard.append(change)
                    server.stop(1)
    assert heard == [Changed("tools")]


async def test_what_the_server_does_not_tell_cannot_be_listened_to() -> None:
    server = Server("s")
    tool(server)
    for era in ("modern", "legacy"):
        async with Client(server, era=era) as client:
            with pytest.raises(MissingCapability, match="does not tell when its prompts change"):
                async with client.listen(prompts=True):
                    raise AssertionError("must not be entered")


# ---------------------------------------------------------------------- the publisher


def test_a_subscriber_holds_each_change_once() -> None:
    woken: list[int] = []
    publisher = Publisher()
    subscriber = Subscriber(frozenset((LIST_CHANGED["tools"],)), {"x:": None}, lambda: woken.append(1))
    publisher.subscribe(subscriber)
    for _ in range(3):
        publisher.publish(Change(LIST_CHANGED["tools"]))
        publisher.publish(Change(LIST_CHANGED["prompts"]))
        publisher.publish(Change(RESOURCE_UPDATED, "x:"))
        publisher.publish(Change(RESOURCE_UPDATED, "y:"))
    assert len(woken) == 6
    assert subscriber.take() == [Change(LIST_CHANGED["tools"]), Change(RESOURCE_UPDATED, "x:")]
    assert subscriber.take() == []
    publisher.unsubscribe(subscriber)
    publisher.unsubscribe(subscriber)
    publisher.publish(Change(LIST_CHANGED["tools"]))
    assert (subscriber.take(), len(publisher)) == ([], 0)
