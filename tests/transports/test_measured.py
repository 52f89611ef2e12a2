"""http/measured: what passes is counted, and who may read it at /metrics."""

import json
from typing import Any

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families
from transports.listening import serving as web_serving
from transports.raw_http import Wire, call, message, offer, serving, until

from mcpcore import Client, LocalProtocolError, Server
from mcpcore.traffic import Passed
from mcpcore_transports.framing.eventstream import encode_comment, encode_event, encode_priming_event
from mcpcore_transports.http import asgi_app
from mcpcore_transports.http.measured import MeasuredResponse, MetricsApp
from mcpcore_transports.http.options import HttpOptions
from mcpcore_transports.web.exchange import Headers, WebResponse

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def shown(wire: Wire) -> dict[tuple[str, ...], float]:
    answer = await wire.ask("GET", "/metrics")
    assert (answer.status, answer.kind) == (200, "text/plain")
    assert answer.headers["cache-control"] == "no-store"
    return samples((await answer.body()).decode())


def passed(found: dict[tuple[str, ...], float], era: str, transport: str) -> dict[str, float]:
    return {
        f"{way} {what}": found.get((f"mcpcore_{way}_{what}_total", era, transport), 0)
        for way in ("received", "sent")
        for what in ("messages", "bytes")
    }


async def test_messages_and_bytes_by_transport_and_era() -> None:
    offered = offer()
    measured = offered.server.metrics()
    options = {"measured": measured, "metrics_path": "/metrics"}
    async with serving(offered, sse_path="/sse", **options) as site, site.connect() as wire, site.connect() as other:
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
        size = len(await answer.body())
        found = passed(await shown(wire), "modern", "http")
        assert (found["received messages"], found["sent messages"], found["sent bytes"]) == (1, 1, size)
        assert found["received bytes"] > 100
        offered.go.set()
        answer = await site.modern(wire, call("wait", {"steps": 3}, token=1))
        messages = len(await answer.messages())
        assert passed(await shown(wire), "modern", "http")["sent messages"] == 1 + messages

        async with site.talk() as talk:
            assert await talk.tool("add", {"a": 1, "b": 2}) == "3"
            found = passed(await shown(wire), "legacy", "http")
            assert (found["received messages"], found["sent messages"]) == (3, 2)  # one is a notification
            body = json.dumps(message("tools/list")).encode()
            before = found["received bytes"]
            answer = await talk.post(body)
            listed = len(await answer.body())
            found = {name: value - found[name] for name, value in passed(await shown(wire), "legacy", "http").items()}
            assert found == {
                "received messages": 1,
                "received bytes": len(body),
                "sent messages": 1,
                "sent bytes": listed,
            }, before

        async with Client(f"http://{site.host}/sse") as client:
            await client.call_tool("add", {"a": 1, "b": 2})
            assert (await shown(wire))["mcpcore_open_streams",] == 1
        found = passed(await shown(wire), "legacy", "sse")
        assert found["received messages"] >= 3
        assert found["sent messages"] >= 2
        await until(lambda: site.endpoint.count_streams() == 0)
        assert (await shown(wire))["mcpcore_open_streams",] == 0

        refused = await site.post(other, b"{", {"Content-Type": "text/plain"})
        assert refused.status == 415
        found = passed(await shown(wire), "none", "http")
        assert (found["received bytes"], found["sent bytes"] > 0) == (0, True)


async def test_events_that_go_out_together_are_counted_one_by_one() -> None:
    class Sent(WebResponse):
        async def send_whole(self, status: int, headers: Headers, body: bytes) -> None: ...
        async def start(
            self, status: int, headers: Headers, *, first: bytes = b"", idle_bytes: bytes = b""
        ) -> None: ...
        async def send(self, chunk: bytes) -> None: ...
        async def finish(self, last: bytes = b"") -> None: ...

    passed = Passed()
    response = MeasuredResponse(Sent(), passed)
    assert not response.started
    await response.start(200, (), first=encode_event(b"{}", event="message"))
    assert response.started
    chunk = encode_priming_event("1.0") + b"".join(
        encode_event(b'{"a":"data: {"}', event="message", id=str(number)) for number in range(3)
    )
    await response.send(chunk)
    await response.send(encode_comment("still here"))
    last = encode_event(b"{}", event="message")
    await response.finish(last)
    assert passed.sent_messages == 5
    assert passed.sent_bytes == len(chunk) + len(encode_comment("still here")) + 2 * len(last)
    await MeasuredResponse(Sent(), passed).send_whole(202, (), b"accepted")
    assert passed.sent_messages == 5


@pytest.mark.parametrize(
    ("host", "accepted"), [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True)]
)
async def test_a_port_of_its_own_is_for_this_machine_unless_it_is_bound_for_others(host: str, accepted: bool) -> None:
    app = MetricsApp(Server("shown").metrics(), host)
    async with web_serving(app) as served, served.connect() as wire:
        await wire.send(b"GET /metrics HTTP/1.1\r\nHost: 10.0.0.7:9464\r\n\r\n")
        status, _, body = await wire.response()
        assert (status, b"mcpcore_" in body) == ((200, True) if accepted else (421, False))


async def test_the_same_doors_as_for_everything_else() -> None:
    async def known(request: Any) -> str | None:
        return "me" if request.headers.get("authorization") == "Bearer right" else None

    offered = offer()
    options = {"measured": offered.server.metrics(), "metrics_path": "/metrics"}
    async with serving(offered, auth=known, **options) as site, site.connect() as wire:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer right"}, 200),
            ({"Authorization": "Bearer right", "Host": "evil.example"}, 421),
            ({"Authorization": "Bearer right", "Origin": "https://evil.example"}, 403),
        ):
            answer = await wire.ask("GET", "/metrics", headers)
            assert (answer.status, b"mcpcore_" in await answer.body()) == (status, status == 200)
    offered = offer()
    options = {"measured": offered.server.metrics(), "metrics_path": "/metrics"}
    async with serving(offered, **options) as site, site.connect() as wire:
        refused = await wire.ask("POST", "/metrics", {"Content-Length": "0"})
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    async with serving() as site, site.connect() as wire:
        assert (await wire.ask("GET", "/metrics")).status == 404


def test_metrics_are_not_shown_to_others_by_accident() -> None:
    async def auth(request: Any) -> str | None: ...

    for settings in ({"allow_hosts": ["a.example"]}, {"public_url": "https://a.example"}, {"allow_hosts": ["*"]}):
        with pytest.raises(LocalProtocolError, match="--metrics-port NUMBER"):
            HttpOptions.for_bind("127.0.0.1", metrics_path="/metrics", **settings)
        with pytest.raises(LocalProtocolError, match="--metrics-port NUMBER"):
            asgi_app(Server("s"), metrics=True, **settings)
        HttpOptions.for_bind("127.0.0.1", metrics_path="/metrics", auth=auth, **settings)
    with pytest.raises(LocalProtocolError, match="--metrics-port NUMBER"):
        HttpOptions.for_bind("0.0.0.0", metrics_path="/metrics", allow_hosts=["localhost"])
    HttpOptions.for_bind("127.0.0.1", metrics_path="/metrics", allow_hosts=["localhost", "127.0.0.1:8000"])
    with pytest.raises(LocalProtocolError, match="/metrics is where the metrics are"):
        HttpOptions.for_bind("127.0.0.1", path="/metrics", metrics_path="/metrics")


async def test_an_application_in_somebody_elses_server_shows_them_too() -> None:
    app = asgi_app(Server("mounted"), metrics=True)
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": headers}
    await app(scope, anyio.sleep_forever, send)
    assert sent[0]["status"] == 200
    assert b"mcpcore_sessions 0.0" in b"".join(event.get("body", b"") for event in sent)
