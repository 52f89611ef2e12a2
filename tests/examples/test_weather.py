"""examples/weather.py against a recorded API on this machine: what it answers, and what it says when it cannot."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest

from mcpcore import Client, PeerError

pytestmark = pytest.mark.anyio

PLACES = [
    {"id": 2643743, "name": "London", "latitude": 51.50853, "longitude": -0.12574, "country": "United Kingdom"},
    {"id": 3458449, "name": "Londrina", "latitude": -23.31028, "longitude": -51.16278, "country": "Brazil"},
    {"id": 2988507, "name": "Paris", "latitude": 48.85341, "longitude": 2.3488, "country": "France"},
    {"id": 2950159, "name": "Lodi", "latitude": 45.30917, "longitude": 9.50344, "country": "Italy"},
]
CURRENT = {
    "latitude": 48.86,
    "longitude": 2.3599997,
    "generationtime_ms": 0.05,
    "utc_offset_seconds": 3600,
    "timezone": "Europe/Paris",
    "current_units": {"time": "iso8601", "interval": "seconds", "temperature_2m": "°C"},
    "current": {
        "time": "2026-11-21T18:15",
        "interval": 900,
        "temperature_2m": 7,
        "wind_speed_10m": 11.5,
        "weather_code": 61,
    },
}
DAILY = {
    "timezone": "Europe/Paris",
    "daily": {
        "time": ["2026-11-21", "2026-11-22", "2026-11-23"],
        "weather_code": [0, 45, 95],
        "temperature_2m_min": [3.1, 2.0, 5.4],
        "temperature_2m_max": [9.9, 8, 11.2],
        "precipitation_sum": [0.0, 0.2, 14.0],
    },
}


class Recorded(BaseHTTPRequestHandler):
    """Answers as Open-Meteo does; a city that begins with "!" is answered with trouble."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        self.server.asked.append((url.path, query))  # type: ignore[attr-defined]
        name = query.get("name", "")
        if name == "!slow":
            self.server.released.wait()  # type: ignore[attr-defined]
        status, body = 200, b"<html>"
        if name == "!busy":
            status, body = 429, json.dumps({"error": True, "reason": "Minutely API request limit exceeded"}).encode()
        elif name != "!odd":
            body = json.dumps(self.answer(url.path, query)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, path: str, query: dict[str, str]) -> Any:
        if path == "/forecast":
            return CURRENT if "current" in query else DAILY
        # Two letters have to be the whole name.
        found = [
            place
            for place in PLACES
            if str(place["name"]).lower().startswith(query["name"].lower()) and len(query["name"]) > 2
        ]
        return (
            {"results": found[: int(query["count"])], "generationtime_ms": 0.3} if found else {"generationtime_ms": 0.3}
        )

    def log_message(self, *_: Any) -> None:
        pass


class Api:
    def __init__(self, server: ThreadingHTTPServer) -> None:
        url = f"http://127.0.0.1:{server.server_port}"
        self.asked: list[tuple[str, dict[str, str]]] = server.asked  # type: ignore[attr-defined]
        self.variables = {
            "WEATHER_URL": f"{url}/forecast",
            "WEATHER_PLACES_URL": f"{url}/search",
            "no_proxy": "127.0.0.1",
        }


@pytest.fixture
def api() -> Iterator[Api]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorded) as server:
        server.asked = []  # type: ignore[attr-defined]
        server.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Api(server)
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_what_the_header_promises(served: Any, api: Api, transport: str) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def show(*progress: Any) -> None:
        seen.append(progress)

    with served("weather.py", transport, **api.variables, WEATHER_KEY="k&y") as target:
        with anyio.fail_after(30):
            async with Client(target) as client:
                tools = {tool.name: tool for tool in await client.list_tools()}
                assert (tools["current"].output_schema or {})["required"] == [
                    "place", "time", "sky", "temperature", "wind",
                ]  # fmt: skip
                result = await client.call_tool("current", {"city": "paris"}, on_progress=show)
                assert result.structured_content == {
                    "place": "Paris, France",
                    "time": "2026-11-21T18:15",
                    "sky": "rain",
                    "temperature": 7.0,
                    "wind": 11.5,
                }
                assert seen == [(1, 3, "looking for paris"), (2, 3, "asking for the weather in Paris"), (3, 3, "done")]
                assert api.asked[1][1] == {
                    "latitude": "48.85341",
                    "longitude": "2.3488",
                    "timezone": "auto",
                    "current": "weather_code,temperature_2m,wind_speed_10m",
                    "apikey": "k&y",
                }
                result = await client.call_tool("forecast", {"city": "Paris"})
                assert [day["sky"] for day in result.structured_content["days"]] == ["clear", "fog", "storm"]
                assert result.structured_content["days"][2] == {
                    "date": "2026-11-23", "sky": "storm", "low": 5.4, "high": 11.2, "rain": 14.0,
                }  # fmt: skip
                assert api.asked[-1][1]["forecast_days"] == "3"
                for arguments, text in (
                    ({"city": "Londn"}, "there is no city 'Londn'; did you mean London or Londrina?"),
                    ({"city": "Xyz"}, "there is no city 'Xyz'"),
                    ({"city": "!busy"}, "the weather service refused the request with HTTP 429; try again later"),
                    (
                        {"city": "!odd"},
                        "the weather service answered with something that is no weather; try again later",
                    ),
                ):
                    result = await client.call_tool("current", arguments)
                    assert (result.is_error, result.content[0].text) == (True, text)
                result = await client.call_tool("forecast", {"city": "Paris", "days": 17})
                assert "argument `days`" in result.content[0].text
                read = await client.read_resource("weather://Paris")
                assert json.loads(read.contents[0].text)["temperature"] == 7.0
                with pytest.raises(PeerError, match="there is no city 'Xyz'"):
                    await client.read_resource("weather://Xyz")
                prompt = await client.get_prompt("pack", {"city": "Paris"})
                assert prompt.messages[0].content.text.startswith("I travel to Paris for 3 days.")


async def test_an_api_that_is_down(served: Any) -> None:
    down = "http://127.0.0.1:9"
    with served("weather.py", "stdio", WEATHER_URL=down, WEATHER_PLACES_URL=down, no_proxy="127.0.0.1") as target:
        with anyio.fail_after(30):
            async with Client(target) as client:
                result = await client.call_tool("current", {"city": "Paris"})
                assert result.content[0].text == "the weather service cannot be reached; try again later"


async def test_an_api_that_is_slow(served: Any, api: Api) -> None:
    with served("weather.py", "stdio", **api.variables, WEATHER_TIMEOUT="0.2") as target, anyio.fail_after(30):
        async with Client(target) as client:
            result = await client.call_tool("current", {"city": "!slow"})
            assert result.content[0].text == "the weather service did not answer within 0.2 s; try again later"
