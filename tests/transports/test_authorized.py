"""The seam: what an `auth=` object of somebody else's is asked, and what a channel sees of it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import anyio
import pytest
from transports.protected_site import Asked, ProtectedSite, Reply, protected_site

from mcpcore import Client, ConnectFailed, ConnectionLost, LocalProtocolError
from mcpcore.connection import Connection
from mcpcore_transports.http import client as client_module
from mcpcore_transports.http.authorized import MAX_ATTEMPTS, Authorization, AuthorizedClient, Call, Refusal
from mcpcore_transports.http.failures import HttpRefused
from mcpcore_transports.oauth import Bearer
from mcpcore_transports.web.client import HttpClient

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Keys(Authorization):
    """Somebody's own: a key, and another one when it is refused."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.calls: list[Call] = []
        self.refusals: list[Refusal] = []
        self.statuses: list[int] = []

    async def headers(self, call: Call) -> Mapping[str, str]:
        self.calls.append(call)
        return {"Authorization": f"Bearer {self.keys[0]}"}

    async def refused(self, call: Call, refusal: Refusal) -> bool:
        self.refusals.append(refusal)
        if len(self.keys) > 1:
            self.keys.pop(0)
            return True
        return False

    def heard(self, call: Call, status: int, headers: Mapping[str, str]) -> None:
        self.statuses.append(status)


async def test_it_is_asked_before_each_request_and_after_a_refusal() -> None:
    async with protected_site() as site:
        site.granted["two"] = ""
        auth = Keys("one", "two")
        async with Client(site.url, auth=auth, headers={"authorization": "Basic eA=="}) as client:
            await client.call_tool("x")
        assert site.bearers == ["Bearer one", "Bearer two", "Bearer two"]
        assert set(auth.calls) == {Call(site.url, "POST", site.url)}
        assert auth.statuses == [401, 200, 200]
        [refusal] = auth.refusals
        assert (refusal.status, refusal.sent) == (401, {"Authorization": "Bearer one"})
        assert refusal.challenges == [refusal.headers["www-authenticate"]]


async def test_a_refusal_that_it_does_nothing_about_reaches_the_caller() -> None:
    async with protected_site() as site:
        with pytest.raises(HttpRefused, match="401"):
            async with Client(site.url, auth=Keys("one")):
                raise AssertionError
        assert site.bearers == ["Bearer one"], "and is no reason to try an older revision"


async def test_it_is_not_asked_forever() -> None:
    class Stubborn(Keys):
        async def refused(self, call: Call, refusal: Refusal) -> bool:
            return True

    async with protected_site() as site:
        with pytest.raises(HttpRefused, match="401"):
            async with Client(site.url, auth=Stubborn("one")):
                raise AssertionError
        assert len(site.bearers) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("error", "says"), [(RuntimeError("tok-secret"), "RuntimeError"), (ConnectionLost("so"), "so")]
)
async def test_what_it_raises_fails_the_request(error: Exception, says: str) -> None:
    class Broken(Keys):
        async def refused(self, call: Call, refusal: Refusal) -> bool:
            raise error

    async with protected_site() as site:
        with pytest.raises(ConnectionLost) as failed:
            async with Client(site.url, auth=Broken("one")):
                raise AssertionError
        assert says in str(failed.value)
        assert "tok-secret" not in str(failed.value)


async def test_the_end_of_a_session_is_no_reason_to_log_in() -> None:
    async with protected_site() as site, HttpClient() as client:
        auth = Keys("one", "two")
        async with AuthorizedClient(client, auth, site.url).request("DELETE", site.url) as response:
            assert response.status == 401
        assert (site.bearers, auth.refusals) == (["Bearer one"], [])


class Patient(Keys):
    patient = True


async def test_one_that_waits_for_a_human_is_asked_before_any_deadline_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("connect_timeout", "probe_timeout"):
        monkeypatch.setitem(Connection.__init__.__kwdefaults__, name, 0.2)

    class Slow(Patient):
        async def refused(self, call: Call, refusal: Refusal) -> bool:
            await anyio.sleep(0.3)
            return await super().refused(call, refusal)

    async with protected_site() as site:
        site.granted["two"] = ""
        async with Client(site.url, auth=Slow("one", "two")) as client:
            await client.call_tool("x")
        methods = [asked.json["method"] for asked in site.log]
        assert methods == ["ping", "ping", "server/discover", "tools/call"]


async def test_a_server_that_never_answers_the_ping_may_answer_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "KNOCK_SECONDS", 0.05)

    async with protected_site() as site:
        site.granted["one"] = ""
        good = site.pages["/mcp"]

        async def mute(asked: Asked) -> Reply:
            if asked.json["method"] == "ping":
                await anyio.sleep_forever()
            made = good(asked)
            assert isinstance(made, Reply)
            return made

        site.pages["/mcp"] = mute
        async with Client(site.url, auth=Patient("one")) as client:
            await client.call_tool("x")


async def test_a_server_that_is_not_there() -> None:
    async with protected_site() as site:
        gone: ProtectedSite = site
    with pytest.raises(ConnectFailed, match="cannot connect"):
        async with Client(gone.url, auth=Patient("one")):
            raise AssertionError


@pytest.mark.parametrize("how", ["text", "function", "coroutine"])
async def test_a_token_that_is_there(how: str) -> None:
    given = iter(["one", "two", "three"])

    async def later() -> str:
        return next(given)

    token = {"text": "one", "function": lambda: next(given), "coroutine": later}[how]
    async with protected_site() as site:
        site.granted |= {"one": "", "two": ""}
        auth = Bearer(token)  # type: ignore[arg-type]
        async with Client(site.url, auth=auth) as client:
            await client.call_tool("x")
        assert site.bearers == ["Bearer one", "Bearer one" if how == "text" else "Bearer two"]
        assert "one" not in repr(auth)
        assert await auth.headers(Call(site.url, "GET", "https://elsewhere.example/")) == {}


@pytest.mark.parametrize("token", ["", "two words", "tok-secret\n", "tök"])
async def test_what_is_no_token(token: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        Bearer(token)
    assert "secret" not in str(refused.value)
    with pytest.raises(LocalProtocolError):
        await Bearer(lambda: token).headers(Call("https://s.example/", "GET", "https://s.example/"))


async def test_what_it_takes_part_in_is_declared() -> None:
    class Extended(Keys):
        extensions: ClassVar[dict[str, Any]] = {"com.example/x": {"a": 1}}

    async with protected_site() as site:
        site.granted["one"] = ""
        async with Client(site.url, auth=Extended("one")):
            pass
        meta = site.log[0].json["params"]["_meta"]
    assert meta["io.modelcontextprotocol/clientCapabilities"]["extensions"] == {"com.example/x": {"a": 1}}
