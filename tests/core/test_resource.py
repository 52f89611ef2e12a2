"""Resources and templates: reading, types, traversal, and how each revision says that there is none."""

from typing import Any

import pytest
from core.wire import Frame, wired

from mcpcore import Client, Context, InvalidParams, LocalProtocolError, ResourceNotFound, SchemaError, Server
from mcpcore.errors import PeerError
from mcpcore.revisions import REVISIONS, Revision
from mcpcore.types import Annotations, BlobResourceContents, Icon, ReadResourceResult, TextResourceContents

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
INFO = {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "0.0.0"}}


def expected(revision: Revision, result: Frame, **hints: Any) -> Frame:
    if revision is not R26:
        return result
    return {"ttlMs": 0, "cacheScope": "private", **hints, **result, "resultType": "complete", "_meta": INFO}


@pytest.fixture
def server() -> Server:
    return Server("s")


@pytest.mark.parametrize(
    ("value", "contents"),
    [
        ("plain", {"mimeType": "text/plain", "text": "plain"}),
        (b"\x00\xff", {"mimeType": "application/octet-stream", "blob": "AP8="}),
        (bytearray(b"a"), {"mimeType": "application/octet-stream", "blob": "YQ=="}),
        ({"a": [1]}, {"mimeType": "application/json", "text": '{"a":[1]}'}),
        ([], {"mimeType": "application/json", "text": "[]"}),
        (0, {"mimeType": "application/json", "text": "0"}),
    ],
)
async def test_what_a_function_returns_decides_the_contents(
    server: Server, revision: Revision, value: Any, contents: Frame
) -> None:
    @server.resource("config://app")
    async def config() -> Any:
        return value

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.result("resources/read", {"uri": "config://app"})
    assert result == expected(revision, {"contents": [{"uri": "config://app", **contents}]})


async def test_several_contents_and_a_result_of_its_own(server: Server, revision: Revision) -> None:
    part = TextResourceContents(uri="dir:///a", text="a")

    @server.resource("dir:///")
    async def both() -> list[Any]:
        return [part, BlobResourceContents(uri="dir:///b", blob=b"b")]

    @server.resource("own:///", mime_type="text/x")
    async def own() -> ReadResourceResult:
        return ReadResourceResult(contents=[part], ttl_ms=7, cache_scope="public")

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.result("resources/read", {"uri": "dir:///"})
        assert [content["uri"] for content in result["contents"]] == ["dir:///a", "dir:///b"]
        result = await peer.result("resources/read", {"uri": "own:///"})
        assert result == expected(
            revision, {"contents": [{"uri": "dir:///a", "text": "a"}]}, ttlMs=7, cacheScope="public"
        )


@pytest.mark.parametrize("uri", ["config://other", "gone://x", "items:///abc/none"])
async def test_a_missing_resource_has_the_code_of_its_era(server: Server, revision: Revision, uri: str) -> None:
    @server.resource("gone://x")
    async def gone() -> None:
        return None

    @server.resource("items:///{name}")
    async def item(name: str) -> str:
        raise ResourceNotFound("items:///" + name)

    async with wired(server) as peer:
        await peer.hello(revision)
        error = await peer.error("resources/read", {"uri": uri})
    assert error == {
        "code": -32602 if revision is R26 else -32002,
        "message": f"no resource has the URI {uri!r}",
        "data": {"uri": uri},
    }


async def test_the_parts_of_a_template_are_typed(server: Server, revision: Revision) -> None:
    @server.resource("calc:///{name}/{n}/{ratio}/{flag}")
    async def calc(name: str, n: int, ratio: float, flag: bool, extra: int = 5) -> dict[str, Any]:
        return {"name": name, "n": n, "ratio": ratio, "flag": flag, "extra": extra}

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.result("resources/read", {"uri": "calc:///123/4/1.5/true"})
        (contents,) = result["contents"]
        assert contents["text"] == '{"name":"123","n":4,"ratio":1.5,"flag":true,"extra":5}'
        error = await peer.error("resources/read", {"uri": "calc:///x/four/1/true"})
        assert error["code"] == -32602
        assert "`n`" in error["message"]
        (template,) = (await peer.result("resources/templates/list"))["resourceTemplates"]
        assert template == {"uriTemplate": "calc:///{name}/{n}/{ratio}/{flag}", "name": "calc"}
        assert (await peer.result("resources/list"))["resources"] == []


@pytest.mark.parametrize(
    "uri",
    ["file:///..", "file:///%2e%2e", "file:///a%2F..%2Fb", "file:///..%5Cb", "file:///%2E%2E%2Fetc%2Fpasswd"],
)
async def test_a_part_that_climbs_out_is_no_resource(server: Server, revision: Revision, uri: str) -> None:
    read: list[str] = []

    @server.resource("file:///{name}")
    async def file(name: str) -> str:
        read.append(name)
        return name

    async with wired(server) as peer:
        await peer.hello(revision)
        error = await peer.error("resources/read", {"uri": uri})
    assert error["code"] == (-32602 if revision is R26 else -32002)
    assert read == []


async def test_traversal_is_let_through_on_demand_only(server: Server) -> None:
    @server.resource("search:///{query}", allow_traversal=True)
    async def search(query: str) -> str:
        return query

    async with Client(server) as client:
        (contents,) = (await client.read_resource("search:///..")).contents
        assert contents == TextResourceContents(uri="search:///..", mime_type="text/plain", text="..")


async def test_an_exact_resource_comes_before_a_template(server: Server) -> None:
    @server.resource("x:///{name}")
    async def any_name(name: str) -> str:
        return "template"

    @server.resource("x:///one")
    async def one() -> str:
        return "exact"

    async with Client(server) as client:
        assert "exact" in str(await client.read_resource("x:///one"))
        assert "template" in str(await client.read_resource("x:///two"))


async def test_a_resource_is_listed_with_what_the_revision_knows(server: Server, revision: Revision) -> None:
    @server.resource(
        "config://app",
        name="config",
        title="Configuration",
        mime_type="text/toml",
        size=12,
        annotations=Annotations(audience=["user"], last_modified="2026-01-01T00:00:00Z"),
        icons=[Icon(src="https://example.com/i.png", sizes=["any"])],
        meta={"com.example/a": 1},
    )
    async def config(ctx: Context) -> str:
        """What is configured."""
        return ctx.method

    async with wired(server) as peer:
        await peer.hello(revision)
        (listed,) = (await peer.result("resources/list"))["resources"]
        (contents,) = (await peer.result("resources/read", {"uri": "config://app"}))["contents"]
    assert contents["mimeType"] == "text/toml"
    assert contents["text"] == "resources/read"
    full: Frame = {
        "uri": "config://app",
        "name": "config",
        "description": "What is configured.",
        "mimeType": "text/toml",
        "size": 12,
        "annotations": {"audience": ["user"]},
    }
    if revision.at_least(R25_06):
        full |= {"title": "Configuration", "_meta": {"com.example/a": 1}}
        full["annotations"]["lastModified"] = "2026-01-01T00:00:00Z"
    if revision.at_least(R25_11):
        full["icons"] = [{"src": "https://example.com/i.png", "sizes": ["any"]}]
    assert listed == full


async def test_caching_hints_are_of_2026_07_28(server: Server, revision: Revision) -> None:
    @server.resource("c://x", ttl_ms=60_000, cache_scope="public")
    async def cached() -> str:
        return "x"

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.result("resources/read", {"uri": "c://x"})
    hints = {"ttlMs": 60_000, "cacheScope": "public"} if revision is R26 else {}
    assert {key: result[key] for key in ("ttlMs", "cacheScope") if key in result} == hints


async def test_a_client_reads_a_cached_resource_once_until_it_changes(server: Server) -> None:
    read: list[int] = []

    @server.resource("c://x", ttl_ms=60_000)
    async def cached() -> str:
        read.append(1)
        return "x"

    async with Client(server) as client:
        await client.read_resource("c://x")
        await client.read_resource("c://x")
        assert len(read) == 1
        async with client.listen(resources=["c://x"]) as changes:
            await server.notify_resource_updated("c://x")
            await anext(changes)
        await client.read_resource("c://x")
        assert len(read) == 2


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), OSError("hunter2")])
async def test_a_failure_of_a_resource_is_an_internal_error_without_its_text(
    server: Server, revision: Revision, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    @server.resource("c://x")
    async def broken() -> str:
        raise error

    async with wired(server) as peer:
        await peer.hello(revision)
        frame = await peer.error("resources/read", {"uri": "c://x"})
    assert frame == {"code": -32603, "message": "internal error; the server's log has the details"}
    assert b"hunter2" not in b"".join(peer.raw)
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_resource_may_refuse_in_its_own_words(server: Server) -> None:
    @server.resource("c://x")
    async def refusing() -> str:
        raise InvalidParams("not you", {"who": "you"})

    async with Client(server) as client:
        with pytest.raises(PeerError, match="not you") as caught:
            await client.read_resource("c://x")
        assert caught.value.data == {"who": "you"}


def test_registration_names_what_is_wrong() -> None:
    server = Server("s")
    with pytest.raises(SchemaError, match=r"has no \{parts\}, so its function cannot take name"):
        server.resource("x://y")(lambda name: 1)
    with pytest.raises(SchemaError, match="has parts that its function does not take: b"):
        server.resource("x://{a}/{b}", name="n")(lambda a: 1)
    with pytest.raises(SchemaError, match="has no part for the arguments b"):
        server.resource("x://{a}", name="n")(lambda a, b: 1)
    with pytest.raises(LocalProtocolError, match="needs a name"):
        server.resource("x://y")(lambda: 1)
    server.resource("x://y", name="n")(lambda: 1)
    with pytest.raises(LocalProtocolError, match="there is a resource 'x://y' already"):
        server.resource("x://y", name="n")(lambda: 1)
    server.remove_resource("x://y")
    with pytest.raises(LocalProtocolError, match="there is no resource 'x://y' to remove"):
        server.remove_resource("x://y")
