"""The stateless era: what every request must bring, in which order that is looked at, and what every result has."""

from typing import Any

import pytest
from core.wire import Frame, modern_meta, wired

from mcpcore import Context, Server
from mcpcore.eras.stateless import (
    MAX_KNOWN_TERMS,
    MAX_TERMS_BYTES,
    KnownTerms,
    allowed_error,
    require_envelope,
    terms_of,
)
from mcpcore.errors import RemoteProtocolError, RequestError
from mcpcore.revisions import REVISIONS, Era
from mcpcore.types import (
    META_CLIENT_CAPABILITIES as CAPABILITIES,
)
from mcpcore.types import (
    META_CLIENT_INFO as INFO,
)
from mcpcore.types import (
    META_LOG_LEVEL as LEVEL,
)
from mcpcore.types import (
    META_PROTOCOL_VERSION as VERSION,
)
from mcpcore.types import (
    META_SERVER_INFO,
)

pytestmark = pytest.mark.anyio

R26 = REVISIONS[-1]
GOOD = modern_meta()
UNSUPPORTED = {"supported": ["2026-07-28"], "requested": "2031-01-01"}


@pytest.fixture
def server() -> Server:
    server = Server("s", version="1")

    @server.tool
    async def t(ctx: Context, n: int = 0) -> str:
        return str(ctx.client_info.name if ctx.client_info else None)

    @server.tool
    async def needy(ctx: Context) -> str:
        return await ctx.sample("?", max_tokens=1)

    server.resource("x://r", name="r", inline=True)(lambda: "x")
    server.resource("x://t/{a}", name="t", inline=True)(lambda a: a)
    server.prompt(name="p", inline=True)(lambda: "x")
    server.completion("p", "a", inline=True)(lambda typed: [])
    return server


BAD_ENVELOPES: dict[str, Frame] = {
    "no capabilities": {VERSION: "2026-07-28"},
    "version of the wrong type": {VERSION: 5, CAPABILITIES: {}},
    "version null": {VERSION: None, CAPABILITIES: {}},
    "capabilities of the wrong type": {VERSION: "2026-07-28", CAPABILITIES: []},
    "capabilities null": {VERSION: "2026-07-28", CAPABILITIES: None},
    "a capability of the wrong type": {VERSION: "2026-07-28", CAPABILITIES: {"roots": 5}},
    "client info without a version": {**GOOD, INFO: {"name": "c"}},
    "client info of the wrong type": {**GOOD, INFO: "c"},
    "a level that is none": {**GOOD, LEVEL: "loud"},
    "a level of the wrong type": {**GOOD, LEVEL: ["info"]},
    "a bad envelope and an unknown version": {VERSION: "2031-01-01"},
}


async def ask(server: Server, method: str, params: Any) -> Frame:
    async with wired(server) as peer:
        frame = {"jsonrpc": "2.0", "id": "q", "method": method}
        peer.write(frame if params is None else {**frame, "params": params})
        response = await peer.response("q")
        assert await peer.drain() == []
        return response


@pytest.mark.parametrize("envelope", BAD_ENVELOPES)
@pytest.mark.parametrize("method", ["tools/list", "server/discover", "tools/call", "no/such"])
async def test_an_incomplete_envelope_is_told_before_anything_else(server: Server, method: str, envelope: str) -> None:
    response = await ask(server, method, {"_meta": BAD_ENVELOPES[envelope]})
    assert response["error"]["code"] == -32602
    assert "_meta" in response["error"]["message"]


@pytest.mark.parametrize("params", [None, {}, {"_meta": {}}, {"_meta": {"progressToken": 1}}])
async def test_without_an_envelope_discover_is_refused(server: Server, params: Any) -> None:
    response = await ask(server, "server/discover", params)
    assert response["error"]["code"] == -32602
    assert VERSION in response["error"]["message"]


@pytest.mark.parametrize("method", ["tools/list", "server/discover", "tools/call", "no/such", "initialize"])
@pytest.mark.parametrize("version", ["2031-01-01", "", "2025-11-25", "2024-11-05", "latest"])
async def test_then_the_version(server: Server, method: str, version: str) -> None:
    response = await ask(server, method, {"_meta": {**GOOD, VERSION: version}})
    assert response["error"]["code"] == -32022
    assert response["error"]["data"] == {"supported": ["2026-07-28"], "requested": version}
    assert "2026-07-28" in response["error"]["message"]


@pytest.mark.parametrize(
    "method",
    [
        "no/such",
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/get",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "notifications/initialized",
    ],
)
@pytest.mark.parametrize("more", [{}, {"name": 5, "level": 5, "uri": 5}])
async def test_then_the_method(server: Server, method: str, more: Frame) -> None:
    response = await ask(server, method, {**more, "_meta": GOOD})
    assert response["error"] == {"code": -32601, "message": f"this server has no method {method!r}"}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {}),
        ("tools/call", {"name": 5}),
        ("tools/list", {"cursor": 5}),
        ("resources/read", {"uri": ["x"]}),
        ("prompts/get", {"name": "p", "arguments": []}),
        ("completion/complete", {"ref": {}}),
        ("subscriptions/listen", {}),
        # The parameters come before what the handler lacks.
        ("tools/call", {"name": ["needy"]}),
    ],
)
async def test_then_the_parameters(server: Server, method: str, params: Frame) -> None:
    response = await ask(server, method, {**params, "_meta": GOOD})
    assert response["error"]["code"] == -32602
    assert response["error"]["message"].startswith(f"{method}: ")


async def test_then_what_the_client_can_do(server: Server) -> None:
    response = await ask(server, "tools/call", {"name": "needy", "_meta": GOOD})
    assert response["error"]["code"] == -32021
    assert response["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}


@pytest.mark.parametrize("params", [5, "x", [], [1], True])
async def test_parameters_that_are_no_object(server: Server, params: Any) -> None:
    response = await ask(server, "tools/list", params)
    assert response["error"]["code"] in (-32600, -32602)
    assert response["id"] == "q"


@pytest.mark.parametrize("meta", [5, "x", []])
async def test_an_envelope_that_is_no_object(server: Server, meta: Any) -> None:
    for method in ("server/discover", "tools/list"):
        assert (await ask(server, method, {"_meta": meta}))["error"]["code"] in (-32602, -32600)


COMPLETE = {
    "server/discover": {},
    "tools/list": {},
    "tools/call": {"name": "t"},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/read": {"uri": "x://r"},
    "prompts/list": {},
    "prompts/get": {"name": "p"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}},
}
CACHEABLE = {method for method in COMPLETE if "list" in method} | {"server/discover", "resources/read"}


@pytest.mark.parametrize("method", COMPLETE)
async def test_every_result_says_that_it_is_complete_and_who_sent_it(server: Server, method: str) -> None:
    async with wired(server) as peer:
        result = await peer.result(method, COMPLETE[method])
    assert result["resultType"] == "complete"
    assert result["_meta"][META_SERVER_INFO] == {"name": "s", "version": "1"}
    hints = {key: result[key] for key in ("ttlMs", "cacheScope") if key in result}
    assert hints == ({"ttlMs": 0, "cacheScope": "private"} if method in CACHEABLE else {})


async def test_who_the_client_is_is_optional_and_changes_nothing(server: Server) -> None:
    async with wired(server) as peer:
        anonymous = await peer.result("tools/list")
        named = await peer.result("tools/list", None, **{INFO: {"name": "c", "version": "1"}})
        assert anonymous == named
        assert (await peer.call("t"))["content"][0]["text"] == "None"
        result = await peer.call("t", {}, **{INFO: {"name": "c", "version": "1", "title": "C", "more": 1}})
        assert result["content"][0]["text"] == "c"


async def test_conversations_on_one_pipe_do_not_mix(server: Server) -> None:
    """Fifty calls in one write, every other one with what the tool needs."""
    async with wired(server) as peer:
        ids = []
        for n in range(50):
            peer.capabilities = {"sampling": {}} if n % 2 else {}
            ids.append(peer.request("tools/call", {"name": "needy"}))
        answers = {frame["id"]: frame for frame in [await peer.receive() for _ in ids]}
    for n, id in enumerate(ids):
        if n % 2:
            assert answers[id]["result"]["resultType"] == "input_required"
        else:
            assert answers[id]["error"]["code"] == -32021


async def test_unknown_members_and_keys_are_ignored(server: Server) -> None:
    async with wired(server) as peer:
        params = {"name": "t", "arguments": {"n": 1}, "somethingNew": [1], "_meta": {"com.example/x": {"y": 1}}}
        assert (await peer.result("tools/call", params))["content"][0]["text"] == "None"


# ---------------------------------------------------------------------- the rules by themselves


def test_terms() -> None:
    terms = terms_of(modern_meta({"roots": {}}, **{LEVEL: "alert", INFO: {"name": "c", "version": "1"}}))
    assert terms.revision is R26
    assert terms.revision.era is Era.MODERN
    assert terms.capabilities.roots is not None
    assert terms.log_level == "alert"
    assert terms.client_info is not None
    with pytest.raises(RemoteProtocolError) as caught:
        terms_of({**GOOD, VERSION: "2031-01-01"})
    assert (caught.value.reply.code, caught.value.reply.data) == (-32022, UNSUPPORTED)
    for meta in (None, {}, {"progressToken": 1}):
        with pytest.raises(RemoteProtocolError, match="must have"):
            require_envelope(meta)
    assert require_envelope(GOOD) is GOOD


@pytest.mark.parametrize("code", [-32002, -32042, -32023, -32099])
def test_a_handler_cannot_send_retired_or_reserved_codes(code: int) -> None:
    sent = allowed_error(RequestError(code, "why", {"detail": 1}))
    assert (sent.code, sent.message, sent.data) == (-32603, "why", {"detail": 1})


@pytest.mark.parametrize("code", [-32602, -32020, -32021, -32022, -1, 1234, -32100])
def test_a_handler_may_send_any_other_code(code: int) -> None:
    error = RequestError(code, "why")
    assert allowed_error(error) is error


# ---------------------------------------------------------------------- terms that are known already


def test_the_terms_of_a_client_that_repeats_itself_are_read_once() -> None:
    known = KnownTerms()
    first = known.terms_of(GOOD)
    assert first == terms_of(GOOD)
    assert known.terms_of({**GOOD, "progressToken": 7}) is first
    other = {**GOOD, LEVEL: "error"}
    assert known.terms_of(other) == terms_of(other)


def test_equal_in_python_is_not_the_same_in_json() -> None:
    known = KnownTerms()
    right = {**GOOD, CAPABILITIES: {"roots": {"listChanged": True}}}
    known.terms_of(right)
    with pytest.raises(RemoteProtocolError, match="clientCapabilities"):
        known.terms_of({**GOOD, CAPABILITIES: {"roots": {"listChanged": 1}}})


@pytest.mark.parametrize("key", [INFO, LEVEL])
def test_null_is_not_the_same_as_absent(key: str) -> None:
    known = KnownTerms()
    absent = {name: value for name, value in GOOD.items() if name != key}
    known.terms_of(absent)
    try:
        expected: Any = terms_of({**absent, key: None})
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            known.terms_of({**absent, key: None})
    else:
        assert known.terms_of({**absent, key: None}) == expected


def test_what_is_wrong_is_refused_every_time() -> None:
    known = KnownTerms()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as refused:
            known.terms_of({**GOOD, VERSION: "2031-01-01"})
        assert refused.value.reply.data == UNSUPPORTED


def test_few_terms_are_kept_and_no_large_ones() -> None:
    known = KnownTerms()
    for n in range(MAX_KNOWN_TERMS + 1):
        known.terms_of({**GOOD, INFO: {"name": str(n), "version": "1"}})
    assert len(known) == 1
    known.terms_of({**GOOD, INFO: {"name": "x" * MAX_TERMS_BYTES, "version": "1"}})
    assert len(known) == 1


def test_terms_that_have_no_json_are_read_all_the_same() -> None:
    meta = {**GOOD, "other": object(), INFO: {"name": "n", "version": "1", "extra": object()}}
    assert KnownTerms().terms_of(meta) == terms_of(meta)
