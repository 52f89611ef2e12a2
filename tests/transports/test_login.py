"""Logging a user in, against a scripted server and authorization server: what goes right, and how often.

What goes wrong has `test_login_faults.py`. Every wait is for an event and bounded.
"""

import logging
from collections import Counter
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from transports.protected_site import PRM, SECRETS, Asked, ProtectedSite, Reply, fetch, json_page, protected_site
from transports.scripted_server import PATIENCE_SECONDS

from mcpcore import Client, ConnectFailed, LocalProtocolError
from mcpcore_transports.oauth import AccessRefused, Call, MemoryStorage, OAuth, Refusal, UntrustedMetadata
from mcpcore_transports.oauth.metadata import ServerMetadata

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def user(site: ProtectedSite, **options: Any) -> OAuth:
    return OAuth(open_browser=site.browse, **options)


async def call(client: Client) -> str:
    [block] = (await client.call_tool("x")).content
    return str(block.text)  # type: ignore[union-attr]


async def test_a_login_from_nothing_to_a_call() -> None:
    async with protected_site() as site:
        async with Client(site.url, auth=user(site)) as client:
            assert await call(client) == "done"
        assert str(site) == (
            f"POST /mcp GET {PRM} GET /.well-known/oauth-authorization-server "
            "POST /register GET /authorize POST /token POST /mcp POST /mcp POST /mcp"
        )
        [registered], [authorized], [token] = map(site.seen, ("/register", "/authorize", "/token"))
    assert registered.json["application_type"] == "native"
    assert registered.json["grant_types"] == ["authorization_code", "refresh_token"]
    assert registered.json["redirect_uris"] == [authorized.query["redirect_uri"]]
    asked = authorized.query
    assert (asked["resource"], asked["scope"], asked["code_challenge_method"]) == (site.url, "read", "S256")
    assert len(asked["state"]) >= 32
    assert token.form["resource"] == site.url
    assert site.bearers == ["", *3 * ["Bearer tok-secret-3"]]


async def test_an_open_server_is_asked_for_nothing_but_a_ping() -> None:
    async with protected_site() as site:
        site.granted[""] = "read"
        async with Client(site.url, auth=user(site)) as client:
            assert await call(client) == "done"
        assert {asked.path for asked in site.log} == {"/mcp"}
        assert site.bearers == 3 * [""]


async def test_a_stored_token_is_used_by_the_next_program() -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        async with Client(site.url, auth=user(site, storage=storage)):
            pass
        before = len(site.seen("/authorize"))
        async with Client(site.url, auth=user(site, storage=storage)) as client:
            assert await call(client) == "done"
        assert len(site.seen("/authorize")) == before == 1


async def test_many_requests_that_meet_a_401_make_one_login() -> None:
    async with protected_site() as site:
        site.refreshes = False
        async with Client(site.url, auth=user(site)) as client:
            site.revoke()
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(call, client)
        assert len(site.seen("/authorize")) == 2
        assert len(site.seen("/register")) == 1


async def test_a_refusal_that_comes_after_the_login_is_no_fault_of_its_token() -> None:
    async with protected_site() as site:
        site.refreshes = False
        async with Client(site.url, auth=user(site)) as client:
            site.revoke()
            refusals = 0
            issued, both = anyio.Event(), anyio.Event()

            def token(asked: Asked) -> Reply:
                issued.set()
                return site.token(asked)

            async def mcp(asked: Asked) -> Reply:
                nonlocal refusals
                if asked.token not in site.granted:
                    refusals += 1
                    if refusals == 2:
                        await issued.wait()
                elif not both.is_set():
                    # The token has not been accepted when the other request hears that its own is refused.
                    if len([bearer for bearer in site.bearers if bearer.endswith(asked.token)]) > 0:
                        both.set()
                    else:
                        site.bearers.append(asked.headers["authorization"])
                        await both.wait()
                return site.mcp(asked)

            site.pages |= {"/token": token, "/mcp": mcp}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, client)
                tasks.start_soon(call, client)
        assert (refusals, len(site.seen("/authorize"))) == (2, 2)


async def test_twenty_calls_with_an_expired_token_make_one_refresh() -> None:
    async with protected_site() as site:
        site.expires_in = 0.0001
        async with Client(site.url, auth=user(site)) as client:
            site.expires_in = 3600
            site.log.clear()
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(call, client)
        forms = [asked.form for asked in site.seen("/token")]
        assert [form["grant_type"] for form in forms] == ["refresh_token"]
        assert forms[0]["resource"] == site.url
        assert site.seen("/authorize") == []
        assert Counter(asked.path for asked in site.log) == {"/mcp": 20, "/token": 1}, "and no request met a 401"


async def test_refresh_tokens_rotate() -> None:
    async with protected_site() as site:
        site.expires_in = 0.0001
        async with Client(site.url, auth=user(site)) as client:
            for _ in range(3):
                await call(client)
        used = [asked.form["refresh_token"] for asked in site.seen("/token") if "refresh_token" in asked.form]
        assert len(used) == len(set(used)) >= 3
        assert len(site.seen("/authorize")) == 1


async def test_a_refresh_token_that_is_refused_leads_to_a_login() -> None:
    async with protected_site() as site:
        async with Client(site.url, auth=user(site)) as client:
            site.revoke()
            site.refreshable.clear()
            assert await call(client) == "done"
        assert [asked.form["grant_type"] for asked in site.seen("/token")] == [
            "authorization_code",
            "refresh_token",
            "authorization_code",
        ]


async def test_a_refreshed_token_that_is_refused_is_not_refreshed_again() -> None:
    async with protected_site() as site:

        def token(asked: Asked) -> Reply:
            reply = site.token(asked)
            if asked.form["grant_type"] == "refresh_token":
                site.revoke()
            return reply

        async with Client(site.url, auth=user(site)) as client:
            site.revoke()
            site.pages["/token"] = token
            assert await call(client) == "done"
        assert [asked.form["grant_type"] for asked in site.seen("/token")] == [
            "authorization_code",
            "refresh_token",
            "authorization_code",
        ]


async def test_a_token_that_another_process_has_refreshed_is_taken_over() -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        async with (
            Client(site.url, auth=user(site, storage=storage)) as one,
            Client(site.url, auth=user(site, storage=storage)) as other,
        ):
            site.revoke()
            await call(one)
            await call(other)
        assert [asked.form["grant_type"] for asked in site.seen("/token")] == ["authorization_code", "refresh_token"]


async def test_a_step_up_asks_for_all_scopes_so_far() -> None:
    async with protected_site() as site:
        site.needed["tools/call"] = "write"
        async with Client(site.url, auth=user(site, scopes=["profile"])) as client:
            assert await call(client) == "done"
            assert await call(client) == "done"
        scopes = [asked.query["scope"] for asked in site.seen("/authorize")]
        assert scopes == ["read profile", "read profile write"]


async def test_a_scope_that_does_not_help_is_not_asked_for_twice() -> None:
    async with protected_site() as site:
        site.needed["tools/call"] = "write"
        async with Client(site.url, auth=user(site)) as client:
            site.pages["/authorize"] = lambda asked: site.authorize(_without(asked, "write"))
            for _ in range(2):
                with pytest.raises(AccessRefused, match="write") as refused:
                    await call(client)
                assert refused.value.scopes == ("write",)
            assert client.capabilities.tools is not None, "the connection is as good as before"
        assert len(site.seen("/authorize")) == 2


async def test_a_server_that_wants_more_each_time_is_left_after_three_logins() -> None:
    async with protected_site() as site:
        wanted = iter(range(100))

        def insatiable(asked: Asked) -> Reply:
            if asked.json["method"] == "tools/call":
                return site.refuse(403, error="insufficient_scope", scope=f"more{next(wanted)}")
            return site.mcp(asked)

        site.pages["/mcp"] = insatiable
        async with Client(site.url, auth=user(site)) as client:
            with pytest.raises(AccessRefused, match="3 times"):
                await call(client)
        assert len(site.seen("/authorize")) == 3


async def test_a_403_that_names_no_scope_is_the_callers() -> None:
    async with protected_site() as site:
        async with Client(site.url, auth=user(site)) as client:
            site.pages["/mcp"] = lambda asked: Reply(403, b"not you", "text/plain")
            with pytest.raises(ConnectFailed, match="403: not you"):
                await call(client)
        assert len(site.seen("/authorize")) == 1


async def test_a_server_that_wants_something_else_than_a_token_is_told_so() -> None:
    async with protected_site() as site:
        site.pages["/mcp"] = lambda asked: Reply(401, b"who?", www_authenticate='Basic realm="x"')
        with pytest.raises(ConnectFailed, match="401: "):
            async with Client(site.url, auth=user(site)):
                raise AssertionError
        assert {asked.path for asked in site.log} == {"/mcp"}


async def test_a_stored_token_of_another_client_is_not_used() -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        async with Client(site.url, auth=user(site, storage=storage)):
            pass
        async with Client(site.url, auth=user(site, storage=storage, client_id="mine")):
            pass
        assert [asked.query["client_id"] for asked in site.seen("/authorize")] == ["client-1", "mine"]


async def test_a_null_in_metadata_is_nothing() -> None:
    async with protected_site() as site:
        site.resource |= dict.fromkeys(("scopes_supported", "dpop_bound_access_tokens_required"))
        site.metadata |= dict.fromkeys(
            ("scopes_supported", "revocation_endpoint", "client_id_metadata_document_supported")
        )
        async with Client(site.url, auth=user(site)) as client:
            assert await call(client) == "done"


async def test_the_authorization_server_changes() -> None:
    async with protected_site() as site, protected_site() as other:
        async with Client(site.url, auth=user(site)) as client:
            site.revoke()
            site.granted = other.granted
            other.resource = site.resource
            site.resource["authorization_servers"] = [other.origin]
            assert await call(client) == "done"
        assert len(other.seen("/register")) == 1
        [authorized] = other.seen("/authorize")
        assert authorized.query["client_id"] == "client-1"
        assert [asked.form["grant_type"] for asked in other.seen("/token")] == ["authorization_code"]
        assert [asked.form["grant_type"] for asked in site.seen("/token")] == ["authorization_code"]


async def test_credentials_that_were_given_go_to_their_issuer_only() -> None:
    async with protected_site() as site, protected_site() as other:
        auth = user(site, client_id="mine", client_secret="client-secret")
        site.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        async with Client(site.url, auth=auth) as client:
            assert await call(client) == "done"
            site.revoke()
            site.resource["authorization_servers"] = [other.origin]
            with pytest.raises(UntrustedMetadata, match="credentials are for"):
                await call(client)
            with pytest.raises(UntrustedMetadata, match="credentials are for"):
                async with Client(other.url, auth=auth):
                    raise AssertionError
        assert site.seen("/token")[0].form["client_secret"] == "client-secret"
        assert other.seen("/authorize") + other.seen("/token") == []


async def test_a_client_document_is_used_where_it_can_be() -> None:
    document = "https://app.example/client.json"
    async with protected_site() as site:
        site.metadata["client_id_metadata_document_supported"] = True
        async with Client(site.url, auth=user(site, client_metadata_url=document)) as client:
            site.revoke()
            assert await call(client) == "done"
        assert {asked.form["client_id"] for asked in site.seen("/token")} == {document}
        assert site.seen("/register") == []


@pytest.mark.parametrize(
    ("methods", "in_form", "basic"),
    [(["none"], False, False), (["client_secret_post"], True, False), (["client_secret_basic"], False, True)],
)
async def test_a_registered_client_authenticates_as_the_server_takes_it(
    methods: list[str], in_form: bool, basic: bool
) -> None:
    async with protected_site() as site:
        site.metadata["token_endpoint_auth_methods_supported"] = methods
        site.pages["/register"] = lambda asked: json_page(
            {"client_id": "a:b", "client_secret": "client-secret %", **asked.json}, 201
        )
        async with Client(site.url, auth=user(site)) as client:
            assert await call(client) == "done"
        [token] = site.seen("/token")
        assert ("client_secret" in token.form) is in_form
        assert token.headers.get("authorization", "").startswith("Basic YSUzQWI6Y2xpZW50LXNlY3JldCslMjU=") is basic


async def test_a_registered_client_comes_back_to_its_port() -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        site.refreshes = False
        for _ in range(2):
            async with Client(site.url, auth=user(site, storage=storage)):
                pass
            site.revoke()
        first, second = site.seen("/authorize")
        assert first.query["redirect_uri"] == second.query["redirect_uri"]
        assert len(site.seen("/register")) == 1
        port = int(first.query["redirect_uri"].split(":")[2].partition("/")[0])
        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port):
            async with Client(site.url, auth=user(site, storage=storage)):
                pass
        assert len(site.seen("/register")) == 2


async def test_a_server_of_2025_03_26_is_its_own_authorization_server() -> None:
    async with protected_site() as site:
        site.challenge = {}
        del site.pages[PRM], site.pages["/.well-known/oauth-authorization-server"]
        site.answer = {"iss": ""}
        async with Client(site.url, auth=user(site)) as client:
            assert await call(client) == "done"
        assert [asked.path for asked in site.log[1:5]] == [
            PRM,
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
        ]
        assert site.log[3].headers["mcp-protocol-version"] == "2025-03-26"


async def test_two_servers_of_one_issuer_do_not_take_each_others_client_away() -> None:
    storage = MemoryStorage()
    async with protected_site() as one, protected_site() as two:
        two.resource["authorization_servers"] = [one.origin]
        two.challenge["scope"], two.granted = "other", one.granted
        async with (
            Client(one.url, auth=user(one, storage=storage)) as first,
            Client(two.url, auth=user(one, storage=storage)) as second,
        ):
            for _ in range(2):
                one.revoke()
                assert await call(first) == "done"
                one.revoke()
                assert await call(second) == "done"
        assert len(one.seen("/authorize")) == 2
        assert [asked.json["scope"] for asked in one.seen("/register")] == ["read", "other read"]
        refreshed = [asked.form for asked in one.seen("/token") if asked.form["grant_type"] == "refresh_token"]
        assert {(form["client_id"], form["resource"]) for form in refreshed} == {
            (asked.query["client_id"], asked.query["resource"]) for asked in one.seen("/authorize")
        }


async def test_one_object_for_two_servers_keeps_them_apart() -> None:
    async with protected_site() as one, protected_site() as two:
        auth = OAuth(open_browser=one.browse)
        async with Client(one.url, auth=auth) as first, Client(two.url, auth=auth) as second:
            await call(first)
            await call(second)
        assert len(one.seen("/token")) == len(two.seen("/token")) == 1
        assert set(one.bearers[1:]) == {"Bearer tok-secret-3"}


async def test_a_token_goes_to_the_origin_it_was_issued_for() -> None:
    async with protected_site() as site:
        auth = user(site)
        async with Client(site.url, auth=auth):
            here = Call(site.url, "POST", f"{site.origin}/messages?session=1")
            assert (await auth.headers(here))["authorization"].startswith("Bearer tok-secret")
            for elsewhere in ("http://127.0.0.1:1/mcp", site.url.replace("http:", "https:"), "http://localhost/mcp"):
                call_elsewhere = Call(site.url, "POST", elsewhere)
                assert await auth.headers(call_elsewhere) == {}
                refusal = Refusal(401, ['Bearer scope="more"'], {}, {})
                assert not await auth.refused(call_elsewhere, refusal)
        assert len(site.seen("/authorize")) == 1


async def test_who_is_cancelled_leaves_no_listener_and_the_next_one_logs_in() -> None:
    async with protected_site() as site:
        site.refreshes = False
        opened: list[str] = []
        there = anyio.Event()
        patient = True

        async def browser(url: str) -> None:
            opened.append(url)
            if patient:
                there.set()
                await anyio.sleep_forever()
            await site.browse(url)

        auth = OAuth(open_browser=site.browse)
        async with Client(site.url, auth=auth) as client:
            site.revoke()
            auth._open = browser
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, client)
                await there.wait()
                port = _redirect_of(opened[0])
                assert (await fetch(f"http://127.0.0.1:{port}/")).status == 404
                patient = False
                tasks.cancel_scope.cancel()
            await _until_closed(port)
            assert await call(client) == "done"


async def test_when_the_first_of_many_is_cancelled_another_logs_in() -> None:
    async with protected_site() as site:
        site.refreshes = False
        there = anyio.Event()
        opened: list[str] = []

        async def browser(url: str) -> None:
            opened.append(url)
            if len(opened) == 1:
                there.set()
                await anyio.sleep_forever()
            await site.browse(url)

        auth = OAuth(open_browser=site.browse)
        async with Client(site.url, auth=auth) as client:
            site.revoke()
            auth._open = browser
            done: list[str] = []

            async def another() -> None:
                done.append(await call(client))

            async with anyio.create_task_group() as rest:
                async with anyio.create_task_group() as first:
                    first.start_soon(call, client)
                    await there.wait()
                    rest.start_soon(another)
                    rest.start_soon(another)
                    while sum(bearer != "" for bearer in site.bearers) < 5:
                        await anyio.lowlevel.checkpoint()
                    first.cancel_scope.cancel()
            assert done == ["done", "done"]
        assert len(opened) == 2


async def test_no_secret_shows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with protected_site() as site:
        auth = user(site, client_id="mine", client_secret="client-secret")
        async with Client(site.url, auth=auth) as client:
            await call(client)
            access = auth._accesses[site.url]
            shown = f"{auth!r} {vars(auth)!r} {access!r} {access.token!r} {client!r} {caplog.text}"
    verifier, state = site.seen("/token")[0].form["code_verifier"], site.seen("/authorize")[0].query["state"]
    # What the caller gave stays in an attribute of its own; nothing else may hold it.
    shown = shown.replace(repr("client-secret"), "")
    assert [secret for secret in (*SECRETS, verifier, state) if secret in shown] == []


@pytest.mark.parametrize(
    "options",
    [
        {"client_secret": "x"},
        {"client_metadata_url": "http://app.example/client.json"},
        {"client_metadata_url": "https://app.example"},
        {"client_metadata_url": "https://app.example/a/../b"},
        {"scopes": "read write"},
        {"allow_hosts": "localhost"},
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        OAuth(**options)


def test_what_is_no_authorization_is_refused_at_once() -> None:
    with pytest.raises(LocalProtocolError, match="a token or an Authorization"):
        Client("http://localhost/mcp", auth=object())


def test_metadata_that_is_guessed_needs_no_pkce() -> None:
    ServerMetadata(issuer="x", guessed=True).check_pkce()


def _without(asked: Asked, scope: str) -> Asked:
    asked.query["scope"] = " ".join(each for each in asked.query["scope"].split() if each != scope)
    return asked


async def _until_closed(port: str) -> None:
    """Wait until nobody listens there: the request that listened was told to end, and does so in its own task."""
    with anyio.fail_after(PATIENCE_SECONDS), suppress(OSError):
        while True:
            await fetch(f"http://127.0.0.1:{port}/")


def _redirect_of(url: str) -> str:
    [redirect] = parse_qs(urlsplit(url).query)["redirect_uri"]
    return redirect.split(":")[2].partition("/")[0]


async def test_a_token_that_has_come_is_kept_whoever_is_cancelled() -> None:
    """A refresh token that has been used is worth nothing: what came for it must not be lost with a request."""
    scope = anyio.CancelScope()

    class Slow(MemoryStorage):
        async def set(self, key: str, value: bytes) -> None:
            scope.cancel()
            await super().set(key, value)

    async with protected_site() as site:
        storage = MemoryStorage()
        async with Client(site.url, auth=user(site, storage=storage)):
            pass
        site.revoke()
        slow = Slow()
        slow._records = storage._records
        auth = user(site, storage=slow)
        with scope:
            await auth.headers(Call(site.url, "POST", site.url))
            sent = {"authorization": site.bearers[-1]}
            await auth.refused(Call(site.url, "POST", site.url), Refusal(401, (), {}, sent))
        assert scope.cancelled_caught
        async with Client(site.url, auth=user(site, storage=storage)) as client:
            assert await call(client) == "done"
        assert (len(site.seen("/authorize")), len(site.seen("/token"))) == (1, 2)


@pytest.mark.parametrize("moved", ["endpoint", "issuer"])
async def test_an_expired_token_whose_authorization_server_moved(moved: str) -> None:
    """Where it was refreshed there is nobody, which the server knows and the token does not."""
    storage = MemoryStorage()
    async with protected_site() as site, protected_site() as other:
        site.expires_in = 0.0001
        async with Client(site.url, auth=user(site, storage=storage)):
            site.revoke()
        before = len(site.seen("/authorize"))
        site.expires_in = 3600
        del site.pages["/token"]
        if moved == "issuer":
            other.pages["/token"], other.granted = other.token, site.granted
            site.resource["authorization_servers"] = [other.origin]
        else:
            site.pages["/token2"] = site.token
            site.metadata["token_endpoint"] = f"{site.origin}/token2"
        async with Client(site.url, auth=user(site, storage=storage)) as client:
            assert await call(client) == "done"
        assert len(other.seen("/authorize")) == (moved == "issuer")
        assert len(site.seen("/authorize")) == before
