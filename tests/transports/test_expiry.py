"""Streams end when the token that opened them does, and not before."""

import time
from typing import Any

import anyio
import pytest
from transports.raw_http import PATIENCE_SECONDS, initialize, message, modern, serving, until

from mcpcore.principal import Principal
from mcpcore.testing import virtual_time
from mcpcore_transports.http.expiry import LOOK_SECONDS, Expiries

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def token(seconds: float | None) -> Principal:
    return Principal(subject="alice", expires=seconds)


@pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["trio"])
async def test_each_ends_at_its_own_time_and_later_tokens_put_it_off() -> None:
    ended: list[str] = []
    expiries = Expiries(anyio.current_time)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expiries.run)
        began = anyio.current_time()

        def after(seconds: float) -> Principal:
            return token(began + seconds)

        with (
            expiries.ending(after(10), lambda: ended.append("one")),
            expiries.ending(after(20), lambda: ended.append("two")) as two,
            expiries.ending(after(5), lambda: ended.append("three")) as three,
            expiries.ending(token(None), lambda: ended.append("never")),
            expiries.ending(None, lambda: ended.append("nobody")),
        ):
            assert len(expiries) == 3
            two.renew(after(15))  # an older one takes nothing away
            three.renew(token(None))
            await anyio.sleep(9.9)
            assert ended == []
            await anyio.sleep(0.2)
            assert ended == ["one"]
            two.renew(after(30 + LOOK_SECONDS * 2))
            await anyio.sleep(15 + LOOK_SECONDS * 2)
            assert ended == ["one"]
            await anyio.sleep(10)
            assert ended == ["one", "two"]
        assert len(expiries) == 0
        with expiries.ending(after(0), lambda: ended.append("late")):
            await anyio.sleep(0.1)
        assert ended == ["one", "two", "late"]
        tasks.cancel_scope.cancel()


class Door:
    """Lets everybody in until a test says that it is over."""

    def __init__(self) -> None:
        self.expires: float | None = None

    async def __call__(self, request: Any) -> Principal:
        return Principal(subject="alice", expires=self.expires)


async def test_streams_of_every_kind_end_with_their_token(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    async with serving(auth=door, sse_path="/sse") as site, site.talk() as talk:
        now = [time.time()]
        monkeypatch.setattr(site.endpoint._expiries, "_now", lambda: now[0])
        door.expires = now[0] + 3600
        listen, mirrored = modern(message("subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
        async with site.connect() as one, site.connect() as two, site.connect() as three:
            reading = await talk.get(one)
            listening = await site.post(two, listen, mirrored)
            assert await listening.event() is not None
            old = await three.ask("GET", "/sse")
            event = await old.event()
            assert event is not None
            await until(lambda: len(site.endpoint._expiries) == 3)
            now[0] += 1800
            door.expires = now[0] + 3600
            async with site.connect() as wire:
                answer = await wire.ask("POST", event.data, {"Content-Type": "application/json"}, _body())
                assert (answer.status, await answer.body()) == (202, b"accepted\n")
            now[0] += 1800
            site.endpoint._expiries.look()
            with anyio.fail_after(PATIENCE_SECONDS):
                await reading.events()
                await two.ended()
            assert len(site.endpoint._expiries) == 1  # whoever posted with a later token listens on
            now[0] += 1800
            site.endpoint._expiries.look()
            with anyio.fail_after(PATIENCE_SECONDS):
                await old.events()
            assert len(site.endpoint._expiries) == 0
        # A session is not its streams: it goes on with the next token.
        assert await talk.tool("who") == "alice"


def _body() -> bytes:
    import json

    return json.dumps(initialize("2024-11-05")).encode()
