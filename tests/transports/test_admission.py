"""A protected server on the wire: what it publishes, whom it lets in, and what it tells everybody else."""

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from transports.raw_http import Site, call, initialize, message, modern, offer, serving
from transports.tokens import Issuer, key_of, sign, without_signature

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal
from mcpcore.revisions import Era
from mcpcore_transports.http.server import serve
from mcpcore_transports.protected import ApiKeys, JwtVerifier, Protected, TokenVerifier, VerifierUnavailable
from mcpcore_transports.protected.credentials import MAX_TOKEN_BYTES
from mcpcore_transports.web.access import AccessEntry
from mcpcore_transports.web.exchange import WebRequest

pytestmark = pytest.mark.anyio

WELL_KNOWN = "/.well-known/oauth-protected-resource"
PATHS = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse"), ("POST", "/sse/messages?session_id=x")]
KEY = "a-key-that-nobody-guesses"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


class Door:
    """A site with a protected server, and the tokens that open it."""

    def __init__(self, site: Site, issuer: Issuer) -> None:
        self.site = site
        self.issuer = issuer
        self.resource = f"http://{site.host}/mcp"

    def token(self, **claims: Any) -> str:
        return self.issuer.token(**{"aud": self.resource, **claims})

    def bearer(self, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**claims)}"}

    async def ask(
        self, method: str = "POST", path: str = "/mcp", headers: Any = None, body: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own; a stream is not read."""
        if method == "POST" and body is None:
            body, mirrored = modern(call("add", {"a": 1, "b": 2}))
            headers = {**mirrored, **(headers or {})}
        fields = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **(headers or {}),
        }
        async with self.site.connect() as wire:
            data = None if method != "POST" else json.dumps(body).encode()
            answer = await wire.ask(method, path, fields, data)
            streams = answer.headers.get("transfer-encoding") == "chunked"
            return answer.status, answer.headers, b"" if streams or method == "HEAD" else await answer.body()


@asynccontextmanager
async def protected(issuer: Issuer, *verifiers: Any, scopes: Any = ("mcp",), **options: Any) -> AsyncIterator[Door]:
    found = {name: options.pop(name) for name in ("implied", "scopes_supported", "name", "resource") if name in options}
    guard = Protected(
        *(verifiers or (JwtVerifier(issuer.url, keys={"keys": issuer.published}),)),
        authorization_servers=[issuer.url],
        scopes=scopes,
        **found,
    )
    async with serving(auth=guard, sse_path="/sse", **options) as site:
        yield Door(site, issuer)


# -- what it publishes -----------------------------------------------------------------------------------------------


async def test_metadata_is_for_everybody_and_says_where_to_log_in(issuer: Issuer) -> None:
    async with protected(issuer, scopes_supported=["files:read"], name="Files") as door:
        for path, resource in (("", "/mcp"), ("/mcp", "/mcp"), ("/sse", "/sse")):
            status, headers, body = await door.ask("GET", WELL_KNOWN + path, {"Origin": "https://anybody.example"})
            assert status == 200
            assert headers["content-type"] == "application/json"
            assert headers["access-control-allow-origin"] == "*"
            assert json.loads(body) == {
                "resource": f"http://{door.site.host}{resource}",
                "authorization_servers": [issuer.url],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["files:read", "mcp"],
                "resource_name": "Files",
            }
        status, headers, body = await door.ask("HEAD", WELL_KNOWN)
        assert (status, body) == (200, b"")
        status, headers, _ = await door.ask("OPTIONS", WELL_KNOWN, {"Origin": "https://anybody.example"})
        assert (status, headers["access-control-allow-methods"]) == (204, "GET, HEAD")
        status, headers, _ = await door.ask("DELETE", WELL_KNOWN)
        assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await door.ask("GET", f"{WELL_KNOWN}/other"))[0] == 404
        assert (await door.ask("GET", WELL_KNOWN, {"Host": "evil.example"}))[0] == 421
        assert (await door.ask("GET", "/healthz"))[0] == 200


async def test_a_server_without_authorization_servers_publishes_nothing() -> None:
    async with serving(auth=ApiKeys({"alice": KEY})) as site:
        door = Door(site, Issuer())
        assert (await door.ask("GET", WELL_KNOWN))[0] == 404
        status, headers, _ = await door.ask()
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="mcp"')
        assert (await door.ask(headers={"Authorization": f"Bearer {KEY}"}))[0] == 200


async def test_behind_a_proxy_every_url_is_the_public_one(issuer: Issuer) -> None:
    public = "https://mcp.example.com/tools/mcp"
    async with protected(issuer, public_url=public, policy={"public_url": public}) as door:
        where = {"Host": "mcp.example.com"}
        _, headers, _ = await door.ask(headers=where)
        metadata = f"https://mcp.example.com/tools{WELL_KNOWN}/mcp"
        assert f'resource_metadata="{metadata}"' in headers["www-authenticate"]
        for path in (f"{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/tools/mcp", WELL_KNOWN):
            assert json.loads((await door.ask("GET", path, where))[2])["resource"] == public
        assert (await door.ask(headers={**where, **door.bearer(aud=public)}))[0] == 200
        assert (await door.ask(headers={**where, **door.bearer()}))[0] == 401


# -- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_strangers_are_told_where_to_log_in_on_every_path(issuer: Issuer, method: str, path: str) -> None:
    async with protected(issuer) as door:
        endpoint = "/sse" if "sse" in path else "/mcp"
        for headers in ({}, {"Authorization": "Basic YTpi"}, {"Mcp-Session-Id": "x"}):
            status, answered, _ = await door.ask(method, path, headers)
            metadata = f"http://{door.site.host}{WELL_KNOWN}{endpoint}"
            assert (status, answered["www-authenticate"]) == (
                401,
                f'Bearer scope="mcp", resource_metadata="{metadata}"',
            )


async def test_a_good_token_opens_both_eras_and_the_old_transport(issuer: Issuer) -> None:
    async with protected(issuer) as door:
        assert (await door.ask(headers=door.bearer()))[0] == 200
        async with door.site.talk(headers=door.bearer()) as talk:
            assert await talk.tool("who") == "alice"
            async with door.site.connect() as wire:
                assert (await talk.get(wire)).status == 200
        async with door.site.connect() as wire:
            answer = await wire.ask("GET", "/sse", door.bearer())
            event = await answer.event()
            assert event is not None
            assert (await door.ask("POST", event.data, door.bearer(), initialize()))[0] == 202
            assert (await door.ask("POST", event.data, {}, initialize()))[0] == 401
            assert (await door.ask("POST", event.data, door.bearer(sub="bob"), initialize()))[0] == 404


def bad_tokens(door: Door) -> dict[str, str]:
    now = time.time()
    good = door.token()
    rsa = sign(door.issuer.claims(aud=door.resource), "x" * 64, "HS256", kid="one")
    return {
        "expired": door.token(exp=now - 3600),
        "not yet valid": door.token(nbf=now + 3600),
        "another audience": door.token(aud="https://other.example.com/mcp"),
        "no audience": door.token(aud=None),
        "another issuer": door.token(iss="https://evil.example.com"),
        "unknown key": door.token(kid="two", key=key_of("EC", "stranger")),
        "stranger's key": door.token(key=key_of("EC", "stranger")),
        "unsigned": without_signature(good),
        "changed": good[:-6] + "AAAAAA",
        "shared secret": rsa,
        "garbage": "garbage",
        "dots": "a.b.c",
        "oversize": "A" * (MAX_TOKEN_BYTES + 1),
        "bound to a key": door.token(cnf={"jkt": "x"}),
    }


async def test_each_bad_token_is_refused_in_the_same_words(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    entries: list[AccessEntry] = []
    said: list[bytes] = []
    async with protected(issuer, access_log=entries.append) as door:
        tokens = bad_tokens(door)
        for name, token in tokens.items():
            caplog.clear()
            status, headers, body = await door.ask(headers={"Authorization": f"Bearer {token}"})
            assert status == 401, name
            assert headers["www-authenticate"].startswith('Bearer error="invalid_token", scope="mcp", resource'), name
            said.append(body + headers["www-authenticate"].encode())
            [record] = [one for one in caplog.records if one.name == "mcpcore.auth"]
            assert record.levelno == logging.WARNING
            text = repr(entries) + caplog.text + "".join(map(repr, said))
            parts = [part for part in token.split(".") if len(part) > 3]
            assert not any(part in text for part in parts), name
    assert len(set(said)) == 1


@pytest.mark.parametrize("query", ["?access_token=", "?a=b&access_token="])
async def test_a_token_in_the_url_is_refused(issuer: Issuer, query: str) -> None:
    async with protected(issuer) as door:
        for headers in ({}, door.bearer()):
            status, answered, body = await door.ask("POST", f"/mcp{query}{door.token()}", headers, {})
            assert status == 400
            assert answered["www-authenticate"].startswith('Bearer error="invalid_request"')
            assert door.token()[:20].encode() not in body


@pytest.mark.parametrize("value", ["Bearer", "Bearer a b", "Bearer a, Bearer b"])
async def test_malformed_credentials(issuer: Issuer, value: str) -> None:
    async with protected(issuer) as door:
        status, headers, _ = await door.ask(headers={"Authorization": value})
        assert status == 400
        assert 'error="invalid_request"' in headers["www-authenticate"]


async def test_two_authorization_headers(issuer: Issuer) -> None:
    async with protected(issuer) as door, door.site.connect() as wire:
        bearer = door.bearer()["Authorization"]
        both = f"{bearer}\r\nAuthorization: {bearer}"
        answer = await wire.ask("POST", "/mcp", {"Content-Type": "application/json", "Authorization": both}, b"{}")
        assert answer.status == 400


async def test_who_cannot_be_verified_is_told_to_come_back(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mcpcore")

    class Down(TokenVerifier):
        async def verify(self, token: str, resources: Any) -> Principal:
            raise VerifierUnavailable("nobody answers")

    async with protected(issuer, Down()) as door:
        status, headers, body = await door.ask(headers=door.bearer())
        assert (status, headers["retry-after"]) == (503, "5")
        assert "www-authenticate" not in headers
        assert b"nobody" not in body
    # One that knows the token decides, whoever else is down; one that does not know it decides nothing.
    async with protected(issuer, Down(), ApiKeys({"alice": KEY}), scopes=()) as door:
        assert (await door.ask(headers={"Authorization": f"Bearer {KEY}"}))[0] == 200
        assert (await door.ask(headers={"Authorization": f"Bearer {KEY}x"}))[0] == 503


async def test_several_verifiers_and_a_header_of_its_own(issuer: Issuer) -> None:
    jwts = JwtVerifier(issuer.url, keys={"keys": issuer.published})
    async with protected(issuer, jwts, ApiKeys({"robot": KEY}, header="X-API-Key"), scopes=()) as door:
        assert (await door.ask(headers=door.bearer()))[0] == 200
        assert (await door.ask(headers={"X-API-Key": KEY}))[0] == 200
        assert (await door.ask(headers={"X-API-Key": door.token()}))[0] == 401
        assert (await door.ask(headers={"Authorization": f"Bearer {KEY}"}))[0] == 401
        assert (await door.ask(headers={"X-API-Key": KEY, **door.bearer()}))[0] == 400


async def test_a_handler_sees_who_asks_and_no_token(issuer: Issuer) -> None:
    offered = offer()
    seen: list[Any] = []

    @offered.server.tool
    async def look(ctx: Any) -> str:
        return "unused"

    offered.server.remove_tool("look")

    async def peek(ctx: Any, handler: Any) -> Any:
        seen.append((ctx.principal, dict(ctx.headers)))
        return await handler(ctx)

    offered.server.inbound.append(peek)
    async with protected(issuer, offered=offered) as door:
        token = door.token(email="a@example.com")
        assert (await door.ask(headers={"Authorization": f"Bearer {token}", "X-Team": "7"}))[0] == 200
    [(principal, headers)] = seen
    assert (principal.subject, principal.client_id, principal.issuer) == ("alice", "editor", issuer.url)
    assert principal.claims["email"] == "a@example.com"
    assert headers["x-team"] == "7"
    text = repr(seen) + repr(principal.claims)
    assert not any(part in text for part in token.split("."))


# -- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_belongs_to_issuer_subject_and_client_and_outlives_the_token(issuer: Issuer) -> None:
    async with protected(issuer) as door, door.site.talk(headers=door.bearer()) as talk:
        renewed = door.bearer(jti="another", scope="mcp more")["Authorization"]
        assert await talk.tool("who", authorization=renewed) == "alice"
        for stranger in ({"sub": "bob"}, {"client_id": "other"}):
            answer = await talk.post(call("who"), authorization=door.bearer(**stranger)["Authorization"])
            assert answer.status == 404
            await answer.body()
        expired = door.bearer(exp=time.time() - 60)["Authorization"]
        answer = await talk.post(call("who"), authorization=expired)
        assert answer.status == 401
        await answer.body()
        assert await talk.tool("who") == "alice"


async def test_a_state_belongs_to_whom_it_was_given(issuer: Issuer) -> None:
    async with protected(issuer) as door, door.site.connect() as wire:
        capabilities = {"elicitation": {"form": {}}}
        answer = await door.site.modern(wire, call("ask"), capabilities=capabilities, **_header(door.bearer()))
        asked = (await answer.json())["result"]
        [key] = asked["inputRequests"]
        reply = {key: {"action": "decline"}}
        again = call("ask", inputResponses=reply, requestState=asked["requestState"])
        for claims, status in (({"sub": "bob"}, 400), ({"client_id": "other"}, 400), ({"jti": "renewed"}, 200)):
            answer = await door.site.modern(wire, again, capabilities=capabilities, **_header(door.bearer(**claims)))
            assert (answer.status, claims) == (status, claims), await answer.body()
            await answer.body()


def _header(bearer: dict[str, str]) -> dict[str, str]:
    return {"authorization": bearer["Authorization"]}


# -- scopes ----------------------------------------------------------------------------------------------------------


def forbidden(door: Door, scopes: str, endpoint: str = "/mcp") -> str:
    metadata = f"http://{door.site.host}{WELL_KNOWN}{endpoint}"
    return f'Bearer error="insufficient_scope", scope="{scopes}", resource_metadata="{metadata}"'


async def test_scopes_of_the_whole_server(issuer: Issuer) -> None:
    async with protected(issuer, scopes=["a", "b"]) as door:
        for scope in ("", "a", "b c"):
            status, headers, _ = await door.ask(headers=door.bearer(scope=scope))
            assert (status, headers["www-authenticate"]) == (403, forbidden(door, "a b"))
        assert (await door.ask(headers=door.bearer(scope="b a c")))[0] == 200


async def test_scopes_of_a_tool_are_asked_for_before_it_runs_in_every_era(issuer: Issuer) -> None:
    async with protected(issuer) as door:
        stateless, mirrored = modern(call("write"))
        status, headers, _ = await door.ask(headers={**mirrored, **door.bearer()}, body=stateless)
        assert (status, headers["www-authenticate"]) == (403, forbidden(door, "files:write mcp"))
        async with door.site.talk(headers=door.bearer()) as talk:
            answer = await talk.post(call("write"))
            assert (answer.status, answer.headers["www-authenticate"]) == (403, forbidden(door, "files:write mcp"))
            await answer.body()
            listed = await (await talk.post(message("tools/list"))).json()
            assert "write" in {tool["name"] for tool in listed["result"]["tools"]}
            assert door.site.offer.wrote == 0
            # The same session goes on with the token that was had for it.
            more = door.bearer(scope="mcp files:write")["Authorization"]
            assert await talk.tool("write", authorization=more) == "files:write mcp"
        status, _, _ = await door.ask(headers={**mirrored, **door.bearer(scope="files:write mcp")}, body=stateless)
        assert (status, door.site.offer.wrote) == (200, 2)


async def test_scopes_of_a_tool_over_sse(issuer: Issuer) -> None:
    async with protected(issuer) as door, door.site.connect() as wire:
        answer = await wire.ask("GET", "/sse", door.bearer())
        event = await answer.event()
        assert event is not None
        for body in (initialize("2024-11-05"), message("notifications/initialized", id=None)):
            assert (await door.ask("POST", event.data, door.bearer(), body))[0] == 202
        assert await answer.event() is not None
        status, headers, _ = await door.ask("POST", event.data, door.bearer(), call("write"))
        assert (status, headers["www-authenticate"]) == (403, forbidden(door, "files:write mcp", "/sse"))
        more = door.bearer(scope="mcp files:write")
        assert (await door.ask("POST", event.data, more, call("write", id=7)))[0] == 202
        answered = await answer.event()
        assert answered is not None
        assert answered.json()["result"]["content"][0]["text"] == "files:write mcp"


async def test_a_batch_is_forbidden_as_a_whole(issuer: Issuer) -> None:
    async with protected(issuer) as door, door.site.talk("2025-03-26", headers=door.bearer()) as talk:
        answer = await talk.post([call("who", id=1), call("write", id=2)])
        assert answer.status == 403
        assert 'scope="files:write mcp"' in answer.headers["www-authenticate"]
        assert (door.site.offer.principals, door.site.offer.wrote) == ([], 0)
        await answer.body()


async def test_a_broader_scope_satisfies_a_narrower_one(issuer: Issuer) -> None:
    implied = {"admin": ["files:write", "mcp"], "root": ["admin"]}
    async with protected(issuer, implied=implied) as door, door.site.talk(headers=door.bearer(scope="root")) as talk:
        assert await talk.tool("write") == "admin files:write mcp root"
        answer = await talk.post(call("write"), authorization=door.bearer(scope="mcp")["Authorization"])
        assert answer.status == 403
        await answer.body()


async def test_names_that_are_hidden_from_the_check_are_not_found_by_the_call(issuer: Issuer) -> None:
    """Whatever a body may do to be read as another one by the door, the tool is not run."""
    async with protected(issuer) as door, door.site.talk(headers=door.bearer()) as talk:
        for text in (
            '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"who","name":"write"}}',
            '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","name":"who"}}',
            '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n\\u0061me":"write"}}',
            '{"jsonrpc":"2.0","id":1,"method":"tools\\/call","params":{"name":"wr\\u0069te"}}',
            '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"write"}}',
        ):
            answer = await talk.post(text.encode())
            await answer.body()
        assert door.site.offer.wrote == 0


async def test_a_tool_with_scopes_is_not_for_everybody_where_nobody_asks_who_calls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "mcpcore")
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, call("write"))
        assert answer.status == 403
        assert "www-authenticate" not in answer.headers
        await answer.body()
        assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 200
        assert site.offer.wrote == 0


async def test_a_function_may_grant_scopes_as_well() -> None:
    async def by_name(request: WebRequest) -> Principal | str | None:
        name = request.headers.get("x-name")
        return Principal(subject="writer", scopes=frozenset(["files:write"])) if name == "writer" else name

    async with serving(auth=by_name) as site, site.connect() as wire:
        answer = await site.modern(wire, call("write"), x_name="reader")
        said = 'Bearer realm="mcp", error="insufficient_scope", scope="files:write"'
        assert (answer.status, answer.headers["www-authenticate"]) == (403, said)
        await answer.body()
        assert (await site.modern(wire, call("write"), x_name="writer")).status == 200


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0"},
        {"host": "10.0.0.1", "allow_hosts": ["mcp.example.com"]},
        {"uds": "/nowhere/at.all"},
    ],
)
async def test_a_server_whose_url_nobody_says_is_not_started(issuer: Issuer, options: dict[str, Any]) -> None:
    guard = Protected(JwtVerifier(issuer.url, keys={"keys": issuer.published}), authorization_servers=[issuer.url])
    with pytest.raises(LocalProtocolError, match="--public-url"):
        await serve(offer(auth=guard).server, **options)


async def test_the_servers_own_auth_counts_and_its_verifier_is_closed(issuer: Issuer) -> None:
    closed: list[str] = []

    class Keys(ApiKeys):
        async def aclose(self) -> None:
            closed.append("keys")

    offered = offer(auth=Keys({"alice": KEY}))
    async with anyio.create_task_group() as tasks:

        async def listen(*, task_status: Any) -> None:
            await serve(offered.server, port=0, task_status=task_status)

        [url] = await tasks.start(listen)
        host = url.split("/")[2]
        site = Site(offered, None, ("127.0.0.1", int(host.rpartition(":")[2])), "/mcp", None)  # type: ignore[arg-type]
        door = Door(site, issuer)
        assert (await door.ask())[0] == 401
        assert (await door.ask(headers={"Authorization": f"Bearer {KEY}"}))[0] == 200
        offered.server.stop(0)
    assert closed == ["keys"]


async def test_nothing_that_is_captured_has_a_token_in_it(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever happens to a request: log records of every level, access log, stderr, bodies, reprs and tracebacks."""
    caplog.set_level(logging.DEBUG)
    entries: list[AccessEntry] = []
    seen: list[Any] = []

    async def peek(ctx: Any, handler: Any) -> Any:
        seen.extend((ctx, ctx.principal, dict(ctx.headers), ctx._call.origin, dict(ctx.principal.claims)))
        return await handler(ctx)

    class Failing(TokenVerifier):
        async def verify(self, token: str, resources: Any) -> Principal:
            raise RuntimeError(f"an application's own verifier fails, without {len(token)} bytes of token")

    offered = offer()
    offered.server.inbound.append(peek)
    keys = ApiKeys({"robot": KEY}, header="x-api-key")
    jwts = JwtVerifier(issuer.url, keys={"keys": issuer.published})
    tokens: set[str] = {KEY}
    bodies: list[bytes] = []
    async with protected(issuer, jwts, keys, scopes=(), offered=offered, access_log=entries.append) as door:
        good = door.token()
        tokens |= {good, *bad_tokens(door).values()} - {"garbage", "a.b.c"}
        for shown in tokens:
            for headers in ({"Authorization": f"Bearer {shown}"}, {"x-api-key": shown}, {"DPoP": shown}):
                for body in (call("crash"), call("write")):
                    stateless, mirrored = modern(body)
                    bodies.append((await door.ask(headers={**mirrored, **headers}, body=stateless))[2])
        async with door.site.talk(headers={"Authorization": f"Bearer {good}"}) as talk:
            await talk.tool("crash")
        seen += [door.site.endpoint.admission._guard, vars(jwts), vars(keys), issuer]
    async with protected(issuer, Failing(), scopes=()) as door:
        status, _, body = await door.ask(headers={"Authorization": f"Bearer {good}"})
        assert status == 500
        bodies.append(body)
    said = "\n".join((caplog.text, repr(entries), repr(seen), repr(bodies), *capfd.readouterr()))
    assert "crash" in said
    for token in tokens:
        for part in [piece for piece in token.split(".") if len(piece) > 16]:
            assert part not in said, part


async def test_no_spelling_of_a_request_loses_its_caller() -> None:
    """A body whose era is not seen at the door is still its sender's, in a server of one era too."""

    async def ann(request: WebRequest) -> str:
        return "ann"

    for eras in ([Era.MODERN], [Era.MODERN, Era.LEGACY]):
        offered = offer(eras=eras)
        async with serving(offered, auth=ann) as site, site.connect() as wire:
            body, mirrored = modern(call("who"))
            text = json.dumps(body).replace("modelcontextprotocol/", "modelcontextprotocol\\/")
            for headers in (mirrored, {}):
                answer = await site.post(wire, text.encode(), headers)
                await answer.body()
        assert set(offered.principals) == {"ann"}


async def test_a_function_that_returns_something_else_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mcpcore")

    async def confused(request: WebRequest) -> Any:
        return True

    async with serving(auth=confused) as site, site.connect() as wire:
        assert (await site.modern(wire, call("who"))).status == 500
        assert site.offer.principals == []
