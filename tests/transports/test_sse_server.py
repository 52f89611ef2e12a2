"""HTTP+SSE of 2024-11-05 beside the other two generations: one stream out, POSTs in."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin

import anyio
import pytest
from transports.raw_http import Answer, Site, Wire, call, initialize, message, serving, until

from mcpcore_transports.web.exchange import WebRequest
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def by_token(request: WebRequest) -> str | None:
    return request.headers.get("authorization", "").removeprefix("Bearer ") or None


class Client:
    """A client of that generation."""

    def __init__(self, stream: Answer, uri: str, wire: Wire, headers: dict[str, str]) -> None:
        self.stream = stream
        self.uri = uri
        self.wire = wire
        self.headers = headers

    async def post(self, body: Any, headers: dict[str, str] | None = None, wire: Wire | None = None) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", **self.headers, **(headers or {})}
        answer = await (wire or self.wire).ask("POST", self.uri, fields, data)
        await answer.body()
        return answer.status

    async def next(self) -> Any:
        event = await self.stream.event()
        assert event is not None
        assert event.event == "message"
        return event.json()

    async def ask(self, body: Any) -> Any:
        """The answer to a request, and whatever comes before it is skipped."""
        assert await self.post(body) == 202
        while (found := await self.next()).get("id") != body["id"] or "method" in found:
            pass
        return found


@asynccontextmanager
async def connected(
    site: Site, revision: str | None = "2024-11-05", headers: dict[str, str] | None = None, **capabilities: Any
) -> AsyncIterator[Client]:
    async with site.connect() as reading, site.connect() as posting:
        stream = await reading.ask("GET", "/sse", {"Accept": "text/event-stream", **(headers or {})})
        assert (stream.status, stream.kind) == (200, "text/event-stream")
        event = await stream.event()
        assert event is not None
        assert event.event == "endpoint"
        client = Client(stream, event.data, posting, headers or {})
        if revision is not None:
            answer = await client.ask(initialize(revision, **capabilities))
            assert answer["result"]["protocolVersion"] == revision
            assert await client.post(message("notifications/initialized", id=None)) == 202
        yield client


async def test_the_first_event_says_where_to_post() -> None:
    async with serving(sse_path="/sse") as site, site.connect() as wire:
        stream = await wire.ask("GET", "/sse")
        event = await stream.event()
        assert event is not None
        whole = urljoin(f"http://{site.host}/sse", event.data)
        assert whole.startswith(f"http://{site.host}/sse/messages?session_id=")
        assert len(event.data.partition("=")[2]) >= 43
        assert stream.headers["x-accel-buffering"] == "no"
        # RFC 9745: a date, and where to read about it.
        assert stream.headers["deprecation"].startswith("@")
        assert 'rel="deprecation"' in stream.headers["link"]


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_handshake_revision_goes_over_it(revision: str) -> None:
    async with serving(sse_path="/sse") as site, connected(site, revision) as client:
        answer = await client.ask(call("add", {"a": 1, "b": 2}))
        assert answer["result"]["content"] == [{"type": "text", "text": "3"}]
        assert ("structuredContent" in answer["result"]) == (revision >= "2025-06-18")
        if revision == "2025-03-26":
            assert await client.post([call("add", {"a": 1, "b": 2}, id=5), call("add", {"a": 2, "b": 2}, id=6)]) == 202
            found = await client.next()
            answers = found if isinstance(found, list) else [found, await client.next()]
            assert {one["id"]: one["result"]["content"][0]["text"] for one in answers} == {5: "3", 6: "4"}
        assert site.server.statistics().requests[revision] >= 2


async def test_three_generations_at_once() -> None:
    async with serving(sse_path="/sse") as site, connected(site) as old, site.talk() as talk, site.connect() as wire:
        for value in range(5):
            assert (await old.ask(call("add", {"a": value, "b": 0})))["result"]["content"][0]["text"] == str(value)
            assert await talk.tool("add", {"a": value, "b": 1}) == str(value + 1)
            answer = await site.modern(wire, call("add", {"a": value, "b": 2}))
            assert (await answer.json())["result"]["structuredContent"] == {"result": value + 2}
        assert site.server.statistics().requests == {"2024-11-05": 6, "2025-11-25": 6, "2026-07-28": 5}
        assert (site.offer.entered, len(site.endpoint.streams), len(site.endpoint.sessions)) == (1, 1, 1)


async def test_progress_questions_and_changes_share_the_stream() -> None:
    async with serving(sse_path="/sse") as site, connected(site, "2025-06-18", elicitation={}) as client:
        assert await client.post(call("count", {"upto": 3}, token="t")) == 202
        found = [await client.next() for _ in range(4)]
        assert [one["params"]["progress"] for one in found[:3]] == [1, 2, 3]
        assert await client.post(call("ask", id="q")) == 202
        question = await client.next()
        assert question["method"] == "elicitation/create"
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Rome"}}}
        assert await client.post(answer) == 202
        assert (await client.next())["result"]["content"][0]["text"] == "Rome"
        site.server.remove_tool("refuse")
        assert (await client.next())["method"] == "notifications/tools/list_changed"


async def test_cancelling_is_a_notification() -> None:
    async with serving(sse_path="/sse") as site, connected(site) as client:
        assert await client.post(call("hang", id=7)) == 202
        await site.offer.hanging.wait()
        assert await client.post(message("notifications/cancelled", {"requestId": 7}, id=None)) == 202
        await site.offer.cancelled.wait()
        assert (await client.ask(call("add", {"a": 1, "b": 2})))["id"] == 1


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_the_end_of_the_stream_is_the_end_of_the_session(reset: bool) -> None:
    async with serving(sse_path="/sse") as site, connected(site) as client, site.connect() as wire:
        assert await client.post(call("hang")) == 202
        await site.offer.hanging.wait()
        await client.stream.wire.close(reset=reset)
        await site.offer.cancelled.wait()
        await until(lambda: len(site.endpoint.streams) == 0)
        await until(lambda: site.server.statistics().sessions == 0)
        assert await client.post(call("add"), wire=wire) == 404


async def test_a_post_needs_the_session_of_an_open_stream() -> None:
    async with serving(sse_path="/sse") as site, connected(site) as client:
        kind = {"Content-Type": "application/json"}
        for query in ("", "?session_id=", "?session_id=nobody", "?session_id=nobody&session_id=x", "?other=1"):
            answer = await client.wire.ask("POST", f"/sse/messages{query}", kind, b"{}")
            assert answer.status == 404, query
            await answer.body()
        for method, path, allow in (("GET", client.uri, "POST"), ("POST", "/sse", "GET"), ("DELETE", "/sse", "GET")):
            answer = await client.wire.ask(method, path, kind)
            assert (answer.status, answer.headers["allow"]) == (405, allow)
            await answer.body()
        # Nonsense is answered on the stream, as on a pipe, and ends nothing.
        assert await client.post(b"{") == 202
        assert (await client.next())["error"]["code"] == -32700
        assert (await client.ask(call("add", {"a": 1, "b": 2})))["id"] == 1


async def test_to_anyone_else_there_is_no_such_session() -> None:
    alice, bob = {"Authorization": "Bearer alice"}, {"Authorization": "Bearer bob"}
    async with serving(sse_path="/sse", auth=by_token) as site, connected(site, headers=alice) as client:
        assert await client.post(call("who", id=5), headers=bob) == 404
        assert await client.post(call("who", id=5), headers={"Authorization": ""}) == 401
        assert (await client.ask(call("who", id=6)))["result"]["content"][0]["text"] == "alice"
        assert site.offer.principals == ["alice"]


async def test_there_is_a_limit_to_streams() -> None:
    async with serving(sse_path="/sse", max_sessions=1) as site, connected(site) as client, site.connect() as wire:
        answer = await wire.ask("GET", "/sse")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        await answer.body()
        await client.stream.wire.close()
        await until(lambda: len(site.endpoint.streams) == 0)
        assert (await wire.ask("GET", "/sse")).status == 200


async def test_a_quiet_stream_is_kept_alive() -> None:
    async with serving(sse_path="/sse", limits=HttpLimits(quiet_seconds=0.2)) as site, connected(site) as client:
        for _ in range(2):
            await client.stream.comment()


async def test_a_call_that_runs_when_the_server_stops_gets_its_answer() -> None:
    async with serving(sse_path="/sse", grace=5) as site, connected(site) as client, connected(site) as waiting:
        assert await client.post(call("wait", id=9)) == 202
        await site.offer.began.wait()
        site.server.stop(5)
        assert await waiting.stream.event() is None
        site.offer.go.set()
        assert (await client.next())["id"] == 9
        assert await client.stream.event() is None
        await site.stopped.wait()


async def test_a_reader_that_stalls_is_given_up() -> None:
    async with (
        serving(sse_path="/sse", limits=HttpLimits(write_seconds=0.3)) as site,
        site.connect(receive_buffer=4096) as stalled,
        site.connect() as wire,
        connected(site) as other,
    ):
        stream = await stalled.ask("GET", "/sse")
        event = await stream.event()
        assert event is not None
        client = Client(stream, event.data, wire, {})
        assert await client.post(initialize("2025-03-26")) == 202  # the first whose progress has a text
        assert await client.post(message("notifications/initialized", id=None)) == 202
        assert await client.post(call("pour", token=1)) == 202
        await site.offer.began.wait()
        assert (await other.ask(call("add", {"a": 1, "b": 2})))["id"] == 1
        await site.offer.cancelled.wait()
        await until(lambda: len(site.endpoint.streams) == 1)
        assert site.offer.pulled < 100


async def test_many_clients_come_and_go_and_leave_nothing() -> None:
    async with serving(sse_path="/sse") as site:

        async def one(number: int) -> None:
            for turn in range(10):
                async with site.connect() as wire:
                    await wire.request("GET", "/sse")
                    if (number + turn) % 3:
                        await wire.answer()
                    await wire.close(reset=bool(turn % 2))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
        await until(lambda: len(site.endpoint.streams) == 0)
        await until(lambda: site.server.statistics().sessions == 0)
        async with connected(site) as client:
            assert (await client.ask(call("add", {"a": 1, "b": 2})))["id"] == 1
