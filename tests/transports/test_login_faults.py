"""Logins that go wrong: metadata that lies, loops, is huge or points inward; servers that are slow, or say something
else; redirects that belong to nothing; token endpoints that refuse. Each ends in an error that says what to do, nothing
is sent where it must not be, and no secret shows.
"""

import logging
import socket
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest
from transports.protected_site import PRM, SECRETS, Asked, ProtectedSite, Reply, json_page, protected_site

from mcpcore import Client
from mcpcore_transports.oauth import (
    AuthorizationRefused,
    DiscoveryFailed,
    LoginFailed,
    LoginTimeout,
    MemoryStorage,
    OAuth,
    RegistrationFailed,
    ResponseMismatch,
    StorageFailed,
    TokenRefused,
    UntrustedMetadata,
)
from mcpcore_transports.oauth import access as access_module

pytestmark = pytest.mark.anyio

METADATA = "/.well-known/oauth-authorization-server"
BRIEF_SECONDS = 0.1


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def failing(site: ProtectedSite, caplog: pytest.LogCaptureFixture | None = None, **options: Any) -> LoginFailed:
    """The error that connecting ends with; none of the secrets of the site is in it or anything behind it."""
    options = {"open_browser": site.browse, **options}
    with pytest.raises(LoginFailed) as failed:
        async with Client(site.url, auth=OAuth(**options)):
            raise AssertionError
    error: BaseException | None = failed.value
    shown = "" if caplog is None else caplog.text
    while error is not None:
        shown += f"{error!r} {error} "
        error = error.__cause__ or error.__context__
    secrets = [*SECRETS, *(asked.query["state"] for asked in site.seen("/authorize"))]
    secrets += [asked.form["code_verifier"] for asked in site.seen("/token") if "code_verifier" in asked.form]
    assert [secret for secret in secrets if secret in shown] == []
    return failed.value


# -- metadata --------------------------------------------------------------------------------------------------------


def resource(**members: Any) -> Callable[[ProtectedSite], None]:
    return lambda site: site.resource.update(members)


def metadata(**members: Any) -> Callable[[ProtectedSite], None]:
    return lambda site: site.metadata.update(members)


def page(path: str, reply: Reply) -> Callable[[ProtectedSite], None]:
    return lambda site: site.pages.update({path: lambda asked: reply})


@pytest.mark.parametrize(
    ("bend", "kind", "says"),
    [
        (resource(resource="https://evil.example/mcp"), UntrustedMetadata, "is about 'https://evil.example/mcp'"),
        (resource(authorization_servers=[]), DiscoveryFailed, "names no authorization server"),
        (resource(authorization_servers="x"), DiscoveryFailed, "breaks its rules"),
        (resource(authorization_servers=["http://login.example"]), UntrustedMetadata, "no https URL"),
        (resource(authorization_servers=["file:///etc/passwd"]), UntrustedMetadata, "no URL"),
        (resource(authorization_servers=["https://user:word@login.example"]), UntrustedMetadata, "user information"),
        (resource(authorization_servers=["https://169.254.169.254/latest"]), UntrustedMetadata, "further inside"),
        (metadata(issuer="https://honest.example"), UntrustedMetadata, "says that it is 'https://honest.example'"),
        (metadata(code_challenge_methods_supported=["plain"]), DiscoveryFailed, "PKCE with S256"),
        (metadata(code_challenge_methods_supported=None), DiscoveryFailed, "PKCE with S256"),
        (metadata(authorization_endpoint="javascript:alert(1)"), UntrustedMetadata, "authorization_endpoint"),
        (metadata(authorization_endpoint="http://login.example/"), UntrustedMetadata, "no https URL"),
        (metadata(token_endpoint="http://192.168.1.1/token"), UntrustedMetadata, "token_endpoint"),
        (metadata(authorization_endpoint="https://login.example/a#b"), DiscoveryFailed, "has a fragment"),
        (metadata(token_endpoint=None), DiscoveryFailed, "no token_endpoint"),
        (metadata(authorization_endpoint=None), DiscoveryFailed, "no authorization_endpoint"),
        (metadata(registration_endpoint=None), RegistrationFailed, "pass it as client_id"),
        (page(METADATA, Reply(200, b"<html>Hello</html>", "text/html")), DiscoveryFailed, "text/html that is no JSON"),
        (page(METADATA, Reply(200, b'{"x":' + b"[" * 100_000)), DiscoveryFailed, "no JSON"),
        (page(METADATA, Reply(503)), DiscoveryFailed, "HTTP 503; try again later"),
        (page(PRM, Reply(200, b"x" * 10_000_000)), DiscoveryFailed, "more than 1048576 bytes"),
        (page(PRM, Reply(500)), DiscoveryFailed, "HTTP 500"),
        (page(PRM, Reply(302, location="https://elsewhere.example/")), UntrustedMetadata, "another origin"),
        (page(PRM, Reply(302, location="https://[")), UntrustedMetadata, "another origin"),
        (page(PRM, Reply(302, location=PRM)), DiscoveryFailed, "redirects more than 3 times"),
        (page("/register", json_page({"error": "invalid_redirect_uri"}, 400)), RegistrationFailed, "redirect_port"),
        (page("/register", Reply(200, b"<html>")), RegistrationFailed, "no client_id"),
        (page("/register", Reply(502)), RegistrationFailed, "HTTP 502"),
        (page("/register", Reply(307, location="/other")), RegistrationFailed, "HTTP 307"),
        (
            page("/register", json_page({"client_id": "x", "token_endpoint_auth_method": "private_key_jwt"})),
            RegistrationFailed,
            "private_key_jwt",
        ),
    ],
)
async def test_metadata_that_lies_or_is_none(
    bend: Callable[[ProtectedSite], None], kind: type[LoginFailed], says: str
) -> None:
    async with protected_site() as site:
        bend(site)
        error = await failing(site)
        assert (type(error), says in str(error)) == (kind, True), str(error)
        assert site.seen("/authorize") == []


@pytest.mark.parametrize("named", ["https://[", "file:///etc/passwd", "data:,x", "http://0x7f.1/", "https://a b/"])
async def test_a_challenge_that_names_no_place(named: str) -> None:
    async with protected_site() as site:
        site.challenge["resource_metadata"] = named
        error = await failing(site)
        assert (type(error), str(site)) == (UntrustedMetadata, "POST /mcp"), str(error)


async def test_a_redirect_of_metadata_within_its_origin_is_followed() -> None:
    async with protected_site() as site:
        site.pages["/moved"] = site.pages.pop(PRM)
        site.pages[PRM] = lambda asked: Reply(301, location="/moved")
        async with Client(site.url, auth=OAuth(open_browser=site.browse)):
            pass


@pytest.mark.parametrize("path", [PRM, METADATA, "/register", "/token"])
async def test_a_server_that_takes_its_time_is_left(path: str) -> None:
    async with protected_site() as site:

        async def never(asked: Asked) -> Reply:
            await anyio.sleep_forever()
            raise AssertionError

        site.pages[path] = never
        error = await failing(site, fetch_seconds=BRIEF_SECONDS)
        assert "did not answer within 0.1 s" in str(error)


async def test_nothing_of_a_public_server_leads_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is public as far as anybody can tell, and its metadata points at this machine, by a name."""

    async def public(server: str) -> Any:
        return access_module.Zone.PUBLIC

    async with protected_site() as site, protected_site() as inside:
        port = inside.origin.rpartition(":")[2]
        site.resource["authorization_servers"] = [f"https://inside.example:{port}"]
        monkeypatch.setattr(access_module, "_zone_of_server", public)
        looked_up = anyio.getaddrinfo

        async def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
            return await looked_up("127.0.0.1" if host == "inside.example" else host, *rest, **options)

        monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
        error = await failing(site, allow_hosts=["127.0.0.1"])
        assert type(error) is UntrustedMetadata
        assert "leads further inside" in str(error)
        assert inside.log == []
        site.resource["authorization_servers"] = [f"http://localhost:{port}"]
        error = await failing(site, allow_hosts=["127.0.0.1"])
        assert "points further inside (localhost)" in str(error)
        assert inside.log == []


@pytest.mark.parametrize("found", ["127.0.0.1", "169.254.169.254", "10.0.0.1"])
async def test_a_name_cannot_call_itself_this_machine(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner decides what each look-up says, so that another one may have led outside."""

    async def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 443))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    async with await OAuth()._fetcher("https://rebinds.example/mcp") as fetcher:
        for inside in ("http://localhost:8080/admin", "https://127.0.0.1/", "https://169.254.169.254/latest"):
            with pytest.raises(UntrustedMetadata, match="further inside"):
                fetcher.check_url(inside, "it")
        fetcher.check_url("https://10.0.0.2/", "it")


async def test_an_issuer_that_was_given_is_the_only_one() -> None:
    async with protected_site() as site:
        error = await failing(site, issuer="https://login.example")
        assert type(error) is UntrustedMetadata
        assert site.seen("/register") == site.seen("/authorize") == []


async def test_a_server_that_says_nothing_about_logins_but_has_pages_for_everything() -> None:
    async with protected_site() as site:
        site.challenge = {}
        for path in (PRM, "/.well-known/oauth-protected-resource"):
            page(path, Reply(200, b"<html>", "text/html"))(site)
        error = await failing(site)
        assert type(error) is DiscoveryFailed
        assert "give a token" in str(error)


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ({"state": "another"}, ResponseMismatch, "its state is another one"),
        ({"state": ""}, ResponseMismatch, "missing"),
        ({"iss": "https://evil.example"}, ResponseMismatch, "another authorization server"),
        ({"iss": ""}, ResponseMismatch, "does not say which authorization server"),
        ({"code": "", "error": "access_denied"}, AuthorizationRefused, "the login was declined"),
        (
            {"code": "", "error": "server_error", "error_description": "the \x1b[31mdisk"},
            AuthorizationRefused,
            "server_error (the  [31mdisk); try again later",
        ),
        ({"code": "", "error": "\x1b]0;x"}, AuthorizationRefused, "an unreadable error"),
        ({"code": ""}, ResponseMismatch, "neither a code nor an error"),
        ({"iss": "https://evil.example", "error": "sorry", "code": ""}, ResponseMismatch, "another authorization"),
    ],
)
async def test_a_redirect_that_is_no_consent(answer: dict[str, str], kind: type[LoginFailed], says: str) -> None:
    async with protected_site() as site:
        site.answer = answer
        error = await failing(site)
        assert (type(error), says in str(error), "sorry" in str(error)) == (kind, True, False), str(error)
        assert site.seen("/token") == []


async def test_a_login_that_nobody_finishes_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with protected_site() as site:
        opened: list[str] = []
        error = await failing(site, caplog, login_seconds=BRIEF_SECONDS, open_browser=opened.append)
        assert type(error) is LoginTimeout
        assert "within 0.1 s" in str(error)
        port = int(opened[0].partition("redirect_uri=http%3A%2F%2F127.0.0.1%3A")[2].partition("%")[0])
        with socket.create_server(("127.0.0.1", port)):
            pass  # nobody has it any more


async def test_a_browser_that_cannot_be_opened() -> None:
    async def broken(url: str) -> None:
        raise RuntimeError(f"cannot open {url}")

    async with protected_site() as site:
        error = await failing(site, open_browser=broken)
        assert "open_browser() failed with RuntimeError" in str(error)
        assert "127.0.0.1%3A" not in str(error)


async def test_a_port_that_somebody_has() -> None:
    async with protected_site() as site:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            error = await failing(site, redirect_port=taken.getsockname()[1])
        assert "choose another redirect_port" in str(error)


# -- tokens ----------------------------------------------------------------------------------------------------------


def token_error(error: str, status: int = 400, **members: Any) -> Reply:
    return json_page({"error": error, **members}, status)


@pytest.mark.parametrize(
    ("reply", "code", "says"),
    [
        (token_error("invalid_grant", error_description="expired"), "invalid_grant", "(expired); the code"),
        (token_error("invalid_client", 401), "invalid_client", "check client_id and client_secret"),
        (token_error("invalid_target"), "invalid_target", "its operator has to register it"),
        (token_error("tok\nx"), "", "HTTP 400"),
        (Reply(500, b"oops"), "", "HTTP 500; try again later"),
        (Reply(200, b"<html>", "text/html"), "", "no token response"),
        (Reply(200, b'{"token_type": "Bearer"}'), "", "no token response"),
        (Reply(200, b'{"access_token": 7, "token_type": "Bearer"}'), "", "no token response"),
        (json_page({"access_token": "tok-secret"}), "", "no token_type"),
        (json_page({"access_token": "tok-secret", "token_type": "mac"}), "", "the token_type 'mac'"),
        (json_page({"access_token": "tok-secret", "token_type": "DPoP"}), "", "pass dpop=True"),
        (json_page({"access_token": "tok-secret\r\nx: 1", "token_type": "Bearer"}), "", "no header can carry"),
        (Reply(302, location="https://evil.example/"), "", "HTTP 302"),
    ],
)
async def test_a_token_endpoint_that_refuses(reply: Reply, code: str, says: str) -> None:
    async with protected_site() as site:
        site.pages["/token"] = lambda asked: reply
        error = await failing(site)
        assert isinstance(error, TokenRefused)
        assert (error.error, says in str(error)) == (code, True), str(error)
        assert len(site.seen("/token")) == 1


async def test_a_client_that_the_server_forgot_is_registered_again_by_the_next_login() -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        site.refreshes = False
        async with Client(site.url, auth=OAuth(open_browser=site.browse, storage=storage)):
            pass
        site.revoke()
        good, site.pages["/token"] = site.pages["/token"], lambda asked: token_error("invalid_client", 401)
        await failing(site, storage=storage)
        site.pages["/token"] = good
        async with Client(site.url, auth=OAuth(open_browser=site.browse, storage=storage)):
            pass
        assert len(site.seen("/register")) == 2


async def test_a_refresh_that_fails_for_now_keeps_its_token() -> None:
    async with protected_site() as site:
        async with Client(site.url, auth=OAuth(open_browser=site.browse)) as client:
            site.revoke()
            good, site.pages["/token"] = site.pages["/token"], lambda asked: Reply(503)
            with pytest.raises(TokenRefused, match="try again later"):
                await client.list_tools()
            site.pages["/token"] = good
            assert await client.list_tools() == []
        assert len(site.seen("/authorize")) == 1


async def test_a_token_that_the_server_refuses_at_once_is_not_asked_for_again() -> None:
    async with protected_site() as site:
        site.pages["/mcp"] = lambda asked: site.refuse(error="invalid_token")
        error = await failing(site)
        assert "what audience and issuer it expects" in str(error)
        assert len(site.seen("/authorize")) == 1


async def test_a_storage_that_fails() -> None:
    class Broken(MemoryStorage):
        async def set(self, key: str, value: bytes) -> None:
            raise RuntimeError(value)

    async with protected_site() as site:
        error = await failing(site, storage=Broken())
        assert type(error) is StorageFailed


async def test_a_login_that_cannot_be_read_can_be_forgotten() -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        async with Client(site.url, auth=OAuth(open_browser=site.browse, storage=storage)):
            pass
        place = next(key for key in storage._records if key.startswith("token "))
        token = msgspec.json.decode(storage._records[place])
        await storage.set(place, msgspec.json.encode({**token, "kind": "DPoP", "dpop_key": "damaged"}))
        auth = OAuth(open_browser=site.browse, storage=storage)
        with pytest.raises(StorageFailed, match="log out, and in again"):
            await auth.logged_in(site.url)
        assert await auth.logout(site.url)
        assert not await auth.logged_in(site.url)
        assert not await auth.logout(site.url)
        async with Client(site.url, auth=auth):
            assert await auth.logged_in(site.url)


async def test_a_server_without_tls_is_sent_no_token() -> None:
    async def unused(url: str) -> None:
        raise AssertionError(url)

    auth = OAuth(open_browser=unused)
    reach = await auth._fetcher("https://mcp.example/")
    await reach.__aexit__()
    with pytest.raises(UntrustedMetadata, match="no https URL"):
        await auth._fetcher("http://mcp.example/")
