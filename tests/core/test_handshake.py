"""The handshake era on the wire, and both eras on one pipe."""

from typing import Any

import pytest
from core.wire import Frame, modern_meta, wired

from mcpcore import Client, ConnectFailed, Context, Era, LocalProtocolError, Server
from mcpcore.eras.handshake import Handshake, State, answered_revision
from mcpcore.errors import RemoteProtocolError
from mcpcore.revisions import HANDSHAKE_REVISIONS, REVISIONS, Revision
from mcpcore.types import ClientCapabilities, Implementation, InitializeRequestParams

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
FIRST = "send initialize first (or, for 2026-07-28, put io.modelcontextprotocol/protocolVersion into _meta)"


@pytest.fixture
def server() -> Server:
    server = Server("s", version="1")

    @server.tool
    async def who(ctx: Context) -> str:
        return str(ctx.revision)

    return server


# ---------------------------------------------------------------------- the handshake


@pytest.mark.parametrize(
    ("requested", "answered"),
    [(str(revision), str(revision)) for revision in HANDSHAKE_REVISIONS]
    + [("2026-07-28", "2025-11-25"), ("1999-01-01", "2025-11-25"), ("", "2025-11-25"), ("2030-01-01", "2025-11-25")],
)
async def test_the_requested_revision_is_echoed_or_the_newest_with_a_handshake(
    server: Server, requested: str, answered: str
) -> None:
    assert answered_revision(requested) == answered
    async with wired(server) as peer:
        peer.revision = Revision(answered)
        result = await peer.result("initialize", peer.introduction(requested))
    assert result["protocolVersion"] == answered
    assert result["serverInfo"] == {"name": "s", "version": "1"}
    assert set(result) == {"protocolVersion", "serverInfo", "capabilities"}


async def test_before_the_handshake_only_ping_is_answered(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        peer.revision = legacy
        for method in ("tools/list", "tools/call", "logging/setLevel", "no/such"):
            error = await peer.error(method)
            assert (error["code"], error["message"]) == (-32600, FIRST)
        assert await peer.result("ping") == {}
        peer.notify("notifications/initialized")  # of nothing
        assert (await peer.error("tools/list"))["code"] == -32600
        await peer.hello(legacy)
        assert (await peer.call("who"))["content"][0]["text"] == legacy


async def test_a_second_handshake_is_refused_and_the_first_stays(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(legacy)
        for other in REVISIONS:
            error = await peer.error("initialize", peer.introduction(other))
            assert error["code"] == -32600
            assert error["message"].startswith("this session is initialized already")
        assert (await peer.call("who"))["content"][0]["text"] == legacy


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"protocolVersion": "2025-11-25"},
        {"protocolVersion": 5, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": [], "clientInfo": {"name": "c", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c"}},
    ],
)
async def test_a_handshake_that_cannot_be_read_may_be_tried_again(server: Server, params: Frame) -> None:
    async with wired(server) as peer:
        peer.revision = R25_11
        assert (await peer.error("initialize", params))["code"] == -32602
        await peer.hello(R25_11)
        assert (await peer.call("who"))["content"]


async def test_requests_between_answer_and_initialized_are_answered(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await peer.initialize(legacy)
        assert (await peer.call("who"))["content"][0]["text"] == legacy


async def test_a_request_sent_right_behind_initialize_is_answered(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        peer.revision = legacy
        peer.request("initialize", peer.introduction(legacy))
        peer.notify("notifications/initialized")
        response = await peer.response(peer.request("tools/call", {"name": "who"}))
        assert response["result"]["content"][0]["text"] == legacy


async def test_ping_is_answered_with_nothing_at_all(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(legacy)
        await peer.ask("ping", id="p")
        assert peer.raw[-1] in (b'{"jsonrpc":"2.0","id":"p","result":{}}', b'{"jsonrpc":"2.0","result":{},"id":"p"}')
        assert (await peer.ask("ping", {"_meta": {"x": 1}}))["result"] == {}


async def test_methods_of_the_other_era_do_not_exist(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(legacy)
        # A client's question to itself, the era after this one, and nothing at all.
        for method in ("subscriptions/listen", "sampling/createMessage", "roots/list", "elicitation/create", "x/y"):
            error = await peer.error(method, {"notifications": {}})
            assert error == {"code": -32601, "message": f"this server has no method {method!r}"}


# ---------------------------------------------------------------------- batches


async def test_batches_are_of_one_revision_only(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(legacy)
        peer.write(
            [
                {"jsonrpc": "2.0", "id": "a", "method": "ping"},
                {"jsonrpc": "2.0", "method": "notifications/whatever"},
                {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": {"name": "who"}},
            ]
        )
        frames = await peer.drain()
    if legacy is R25_03:
        assert {frame["id"] for frame in frames} == {"a", "b"}
        assert all("result" in frame for frame in frames)
    else:
        (frame,) = frames
        assert "id" not in frame
        assert frame["error"] == {
            "code": -32600,
            "message": "this revision has no batches; send each message on its own",
        }


async def test_a_batch_before_the_handshake_is_refused(server: Server) -> None:
    async with wired(server) as peer:
        peer.revision = R25_03
        peer.write([{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": peer.introduction(R25_03)}])
        assert (await peer.receive())["error"]["code"] == -32600


@pytest.mark.parametrize("batch", [[], [1, 2], [{"jsonrpc": "2.0"}], [[]]])
async def test_a_batch_of_nothing_good_is_an_error_and_no_more(server: Server, batch: Any) -> None:
    async with wired(server) as peer:
        await peer.hello(R25_03)
        peer.write(batch)
        frames = await peer.drain()
        assert len(frames) == max(1, len(batch))
        assert {frame["error"]["code"] for frame in frames} == {-32600}
        assert await peer.result("ping") == {}


# ---------------------------------------------------------------------- both eras on one pipe


async def test_a_stateless_request_on_a_session_and_back(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        for turn in (R26, legacy, R26, legacy):
            if turn is legacy and legacy not in {frame.get("result", {}).get("protocolVersion") for frame in peer.seen}:
                await peer.hello(legacy)
            peer.revision = turn
            assert (await peer.call("who"))["content"][0]["text"] == turn


async def test_a_probe_does_not_spoil_the_handshake(server: Server, legacy: Revision) -> None:
    async with wired(server) as peer:
        assert "supportedVersions" in await peer.result("server/discover")
        await peer.hello(legacy)
        peer.revision = R26
        assert "supportedVersions" in await peer.result("server/discover")


async def test_terms_do_not_leak_from_one_era_into_the_other(server: Server) -> None:
    @server.tool
    async def terms(ctx: Context) -> list[Any]:
        name = None if ctx.client_info is None else ctx.client_info.name
        return [str(ctx.revision), name, ctx.capabilities.roots is not None]

    async with wired(server) as peer:
        await peer.hello(R25_11, {"roots": {}})
        peer.capabilities, peer.revision = {}, R26
        assert (await peer.call("terms"))["structuredContent"] == {"result": ["2026-07-28", None, False]}
        peer.revision = R25_11
        assert (await peer.call("terms"))["structuredContent"] == {"result": ["2025-11-25", "peer", True]}


async def test_a_modern_only_server_names_what_it_speaks(server: Server) -> None:
    server.eras = frozenset({Era.MODERN})
    async with wired(server) as peer:
        peer.revision = R25_11
        error = await peer.error("initialize", peer.introduction(R25_11))
        assert error["data"] == {"supported": ["2026-07-28"]}
        assert "2026-07-28" in error["message"]
        # Everything else is a modern request with its envelope forgotten.
        for method in ("ping", "tools/list", "no/such"):
            assert (await peer.error(method))["code"] == -32602
        peer.revision = R26
        assert (await peer.result("server/discover"))["supportedVersions"] == ["2026-07-28"]
        assert (await peer.call("who"))["content"][0]["text"] == R26


async def test_a_legacy_only_server_knows_nothing_newer(server: Server) -> None:
    server.eras = frozenset({Era.LEGACY})
    async with wired(server) as peer:
        assert (await peer.error("server/discover"))["code"] in (-32600, -32601)
        await peer.hello(R25_11)
        peer.write({"jsonrpc": "2.0", "id": "d", "method": "server/discover", "params": {"_meta": modern_meta()}})
        assert (await peer.response("d"))["error"]["code"] == -32601
        assert (await peer.call("who"))["content"][0]["text"] == R25_11


async def test_clients_and_servers_of_one_era(server: Server) -> None:
    server.eras = frozenset({Era.MODERN})
    async with Client(server) as client:
        assert client.revision is R26
    with pytest.raises(ConnectFailed, match="it speaks 2026-07-28"):
        async with Client(server, era="legacy"):
            raise AssertionError("must not connect")
    server.eras = frozenset({Era.LEGACY})
    async with Client(server) as client:
        assert client.revision is R25_11
    with pytest.raises(ConnectFailed, match="try era='auto'"):
        async with Client(server, era="modern"):
            raise AssertionError("must not connect")


def test_a_server_speaks_something() -> None:
    with pytest.raises(LocalProtocolError, match="speaks no era"):
        Server("s", eras=())


# ---------------------------------------------------------------------- the rules by themselves


def test_states() -> None:
    handshake = Handshake("info")
    with pytest.raises(LocalProtocolError, match="no handshake"):
        _ = handshake.terms
    for method in ("initialize", "ping"):
        handshake.admit(method)
    with pytest.raises(RemoteProtocolError, match="send initialize first"):
        handshake.admit("tools/list")
    handshake.initialized()
    assert handshake.state is State.NEW
    params = InitializeRequestParams(
        protocol_version="2025-06-18",
        capabilities=ClientCapabilities(),
        client_info=Implementation(name="c", version="1"),
    )
    assert handshake.initialize(params).revision is R25_06
    assert handshake.terms.log_level == "info"
    for state in (State.ANSWERED, State.READY):
        assert handshake.state is state
        handshake.admit("tools/list")
        with pytest.raises(RemoteProtocolError, match="initialized already"):
            handshake.admit("initialize")
        handshake.initialized()
    handshake.set_level("alert")
    assert handshake.terms.log_level == "alert"
