"""Current weather and a forecast for any city, from a real HTTP API (Open-Meteo, which needs no key).

mcpcore call examples/weather.py current city=Paris          progress in three steps, then the conditions
mcpcore call examples/weather.py forecast city=Oslo days=5   the same for five days, as structured output
mcpcore call examples/weather.py current city=Londn          an error to act on: "did you mean London?"
mcpcore run examples/weather.py --transport http             over HTTP; without the flag over stdio

WEATHER_URL and WEATHER_PLACES_URL say where the API is, WEATHER_KEY is sent along if there is one, and
WEATHER_TIMEOUT is how many seconds one request to it may take.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from http.client import HTTPException
from typing import Annotated, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import anyio
import msgspec
from anyio import to_thread

from mcpcore import Context, RequestError, Server, ToolError

WEATHER = os.environ.get("WEATHER_URL", "https://api.open-meteo.com/v1/forecast")
PLACES = os.environ.get("WEATHER_PLACES_URL", "https://geocoding-api.open-meteo.com/v1/search")
KEY = {"apikey": os.environ["WEATHER_KEY"]} if "WEATHER_KEY" in os.environ else {}
TIMEOUT = float(os.environ.get("WEATHER_TIMEOUT", "10"))
SKY = {0: "clear", 2: "cloudy", 3: "overcast", 48: "fog", 57: "drizzle", 67: "rain", 77: "snow", 82: "showers"}
Shape = TypeVar("Shape")
server = Server("weather", version="1.0", instructions="Temperatures are in °C, wind in km/h, rain in mm.")


class Place(msgspec.Struct):  # the API's answers; msgspec ignores what is not named here
    name: str
    latitude: float
    longitude: float
    country: str = ""


class Places(msgspec.Struct):
    results: list[Place] = []


class Now(msgspec.Struct):
    time: str
    weather_code: int
    temperature_2m: float
    wind_speed_10m: float


class Daily(msgspec.Struct):
    time: list[str]
    weather_code: list[int]
    temperature_2m_min: list[float]
    temperature_2m_max: list[float]
    precipitation_sum: list[float]


class Current(msgspec.Struct):
    current: Now


class Outlook(msgspec.Struct):
    daily: Daily


@dataclass
class Conditions:  # the tools' answers: their output schemas are made of these
    place: str
    time: str
    sky: str
    temperature: float
    wind: float


@dataclass
class Day:
    date: str
    sky: str
    low: float
    high: float
    rain: float


@dataclass
class Forecast:
    place: str
    days: list[Day]


def download(url: str) -> bytes:
    with urlopen(url, timeout=TIMEOUT) as answer:
        data: bytes = answer.read()
        return data


async def ask(url: str, shape: type[Shape], **query: Any) -> Shape:
    """One GET. urllib is in every Python but blocks, so a thread waits for it: any blocking client is used this way."""
    try:
        with anyio.fail_after(TIMEOUT):
            target = f"{url}?{urlencode({**query, **KEY})}"
            body = await to_thread.run_sync(download, target, abandon_on_cancel=True)
        return msgspec.json.decode(body, type=shape)
    except HTTPError as refused:
        why = f"refused the request with HTTP {refused.code}"
    except TimeoutError:
        why = f"did not answer within {TIMEOUT:g} s"
    except (OSError, HTTPException):
        why = "cannot be reached"
    except msgspec.MsgspecError:
        why = "answered with something that is no weather"
    raise ToolError(f"the weather service {why}; try again later")


async def report(city: str, ctx: Context, shape: type[Shape], **wanted: Any) -> tuple[str, Shape]:
    await ctx.progress(1, total=3, message=f"looking for {city}")
    found = (await ask(PLACES, Places, name=city, count=1)).results
    if not found:
        similar = await ask(PLACES, Places, name=city[:3], count=100)  # names that begin like this
        names = get_close_matches(city.title(), {place.name for place in similar.results}, n=3)
        raise ToolError(f"there is no city {city!r}" + (f"; did you mean {' or '.join(names)}?" if names else ""))
    place = found[0]
    await ctx.progress(2, total=3, message=f"asking for the weather in {place.name}")
    where = {"latitude": place.latitude, "longitude": place.longitude, "timezone": "auto"}
    answer = await ask(WEATHER, shape, **where, **wanted)
    await ctx.progress(3, total=3, message="done")
    return f"{place.name}, {place.country}", answer


def sky(code: int) -> str:
    return next((words for bound, words in SKY.items() if code <= bound), "storm")


@server.tool
async def current(city: str, ctx: Context) -> Conditions:
    """The weather in a city at this moment."""
    place, answer = await report(city, ctx, Current, current=",".join(Now.__struct_fields__[1:]))
    now = answer.current
    return Conditions(place, now.time, sky(now.weather_code), now.temperature_2m, now.wind_speed_10m)


@server.tool
async def forecast(city: str, ctx: Context, days: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3) -> Forecast:
    """The weather in a city for the next days, today included."""
    place, answer = await report(city, ctx, Outlook, daily=",".join(Daily.__struct_fields__[1:]), forecast_days=days)
    rows = zip(*msgspec.structs.astuple(answer.daily), strict=True)
    return Forecast(place, [Day(date, sky(code), *numbers) for date, code, *numbers in rows])


@server.resource("weather://{city}", mime_type="application/json", ttl_ms=600_000)
async def weather(city: str, ctx: Context) -> Conditions:
    """The weather in a city at this moment; good for ten minutes."""
    try:
        return await current(city, ctx)
    except ToolError as failed:
        raise RequestError(-32602, str(failed)) from None


@server.prompt
def pack(city: str, days: str = "3") -> str:
    """Ask what to pack for a journey."""
    return f"I travel to {city} for {days} days. Look at the forecast, and tell me in a short list what to pack."


if __name__ == "__main__":
    server.run()
