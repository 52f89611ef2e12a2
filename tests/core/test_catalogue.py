"""Lists in pages, and the capabilities that the contents amount to."""

from base64 import urlsafe_b64encode
from typing import Any

import pytest
from core.wire import Frame, Peer, wired

from mcpcore import Client, LocalProtocolError, Server
from mcpcore.revisions import REVISIONS, Revision

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


def full(page_size: int, count: int = 5) -> Server:
    server = Server("s", page_size=page_size)
    for n in range(count):
        server.tool(name=f"t{n}")(lambda: 1)
        server.prompt(name=f"p{n}")(lambda: "x")
        server.resource(f"x://r{n}", name=f"r{n}")(lambda: "x")
        server.resource(f"x://t{n}/{{a}}", name=f"t{n}")(lambda a: "x")
    return server


async def pages(peer: Peer, method: str) -> list[list[str]]:
    found = []
    cursor: Frame = {}
    while True:
        result = await peer.result(method, cursor)
        found.append([entry["name"] for entry in result[LISTS[method]]])
        if "nextCursor" not in result:
            return found
        cursor = {"cursor": result["nextCursor"]}


@pytest.mark.parametrize("method", LISTS)
async def test_every_list_has_pages(revision: Revision, method: str) -> None:
    async with wired(full(2)) as peer:
        await peer.hello(revision)
        first = await pages(peer, method)
        assert [len(page) for page in first] == [2, 2, 1]
        assert await pages(peer, method) == first  # in the same order as long as nothing changes
    async with wired(full(5)) as peer:
        await peer.hello(revision)
        assert [len(page) for page in await pages(peer, method)] == [5]


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("cursor", ["", "x", "dDk=", urlsafe_b64encode(b"nobody").decode(), "ä", "_" * 5000, "/w=="])
async def test_a_cursor_of_somebody_else_is_refused(revision: Revision, method: str, cursor: str) -> None:
    async with wired(full(2)) as peer:
        await peer.hello(revision)
        error = await peer.error(method, {"cursor": cursor})
        assert error == {"code": -32602, "message": "this cursor is not valid here; list again from the start"}
        assert (await peer.error(method, {"cursor": 5}))["code"] == -32602


async def test_what_is_added_or_removed_meanwhile_moves_no_page(revision: Revision) -> None:
    server = full(2)
    async with wired(server) as peer:
        await peer.hello(revision)
        first = await peer.result("tools/list")
        server.remove_tool("t0")
        server.tool(name="t9")(lambda: 1)
        rest = await peer.result("tools/list", {"cursor": first["nextCursor"]})
        assert [tool["name"] for tool in rest["tools"]] == ["t2", "t3"]
        last = await peer.result("tools/list", {"cursor": rest["nextCursor"]})
        assert [tool["name"] for tool in last["tools"]] == ["t4", "t9"]


async def test_a_client_reads_all_pages() -> None:
    for era in ("modern", "legacy"):
        async with Client(full(2), era=era) as client:
            assert [tool.name for tool in await client.list_tools()] == ["t0", "t1", "t2", "t3", "t4"]
            assert len(await client.list_prompts()) == 5
            assert len(await client.list_resources()) == 5
            assert len(await client.list_templates()) == 5


def test_a_page_holds_at_least_one_entry() -> None:
    with pytest.raises(LocalProtocolError, match="page_size must be at least 1"):
        Server("s", page_size=0)


# ---------------------------------------------------------------------- capabilities


def with_tool(server: Server) -> None:
    server.tool(name="t")(lambda: 1)


def with_prompt(server: Server) -> None:
    server.prompt(name="p")(lambda: "x")


def with_resource(server: Server) -> None:
    server.resource("x://y", name="r")(lambda: "x")


def with_template(server: Server) -> None:
    server.resource("x://{y}", name="r")(lambda y: "x")


def with_completion(server: Server) -> None:
    server.completion("p", "a")(lambda typed: [])


OFFERS: dict[str, tuple[Any, Frame, list[str]]] = {
    "tools": (with_tool, {"tools": {"listChanged": True}}, ["tools/list", "tools/call"]),
    "prompts": (with_prompt, {"prompts": {"listChanged": True}}, ["prompts/list", "prompts/get"]),
    "resources": (
        with_resource,
        {"resources": {"listChanged": True, "subscribe": True}},
        ["resources/list", "resources/read", "resources/templates/list"],
    ),
    "templates": (
        with_template,
        {"resources": {"listChanged": True, "subscribe": True}},
        ["resources/list", "resources/read", "resources/templates/list"],
    ),
    "completions": (with_completion, {"completions": {}}, ["completion/complete"]),
}


async def declared(peer: Peer, revision: Revision) -> Frame:
    result = await peer.hello(revision)
    found: Frame = (result or await peer.result("server/discover"))["capabilities"]
    return found


@pytest.mark.parametrize("offer", [None, *OFFERS])
async def test_capabilities_are_the_contents_and_nothing_else_answers(revision: Revision, offer: str | None) -> None:
    server = Server("s")
    capabilities: Frame = {"logging": {}}
    offered: list[str] = []
    if offer is not None:
        register, more, offered = OFFERS[offer]
        register(server)
        capabilities |= more
        if revision is R24:
            capabilities.pop("completions", None)
    async with wired(server) as peer:
        assert await declared(peer, revision) == capabilities
        everything = {method for _, _, methods in OFFERS.values() for method in methods}
        for method in sorted(everything):
            error = (await peer.ask(method)).get("error", {})
            assert (error.get("code") == -32601) == (method not in offered), method


async def test_subscribing_needs_resources(legacy: Revision) -> None:
    server = Server("s")
    with_tool(server)
    async with wired(server) as peer:
        await peer.hello(legacy)
        for method in ("resources/subscribe", "resources/unsubscribe"):
            assert (await peer.error(method, {"uri": "x://y"}))["code"] == -32601
    with_resource(server)
    async with wired(server) as peer:
        await peer.hello(legacy)
        for method in ("resources/subscribe", "resources/unsubscribe"):
            assert await peer.result(method, {"uri": "x://y"}) == {}


async def test_the_server_describes_itself_as_each_revision_can(revision: Revision) -> None:
    server = Server(
        "s", version="2", title="S", description="d", website_url="https://example.com", instructions="be kind"
    )
    async with wired(server) as peer:
        result = await peer.hello(revision) or await peer.result("server/discover")
    info: Frame = {"name": "s", "version": "2"}
    if revision.at_least(R25_06):
        info["title"] = "S"
    if revision.at_least(R25_11):
        info |= {"description": "d", "websiteUrl": "https://example.com"}
    assert result["instructions"] == "be kind"
    if revision is R26:
        assert result["_meta"] == {"io.modelcontextprotocol/serverInfo": info}
        assert result["supportedVersions"] == ["2026-07-28", *(r.value for r in (R24, R25_03, R25_06, R25_11))]
        assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    else:
        assert result["serverInfo"] == info
        assert result["protocolVersion"] == revision
