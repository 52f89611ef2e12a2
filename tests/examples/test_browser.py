"""examples/browser.py and its page: as it is served, and in a real browser (marker `chromium`)."""

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from cli.program import LIMIT_SECONDS
from interop.webdriver import Browser, chromium

from mcpcore import Client

PAGE = Path(__file__).parents[2] / "examples" / "browser.html"
ALLOWED, REFUSED = "friend.example", "stranger.example"


@pytest.fixture(scope="module")
def origin(hosted: Any) -> Iterator[str]:
    with hosted("browser.py", MCPCORE_ALLOW_ORIGIN=f"http://{ALLOWED}:*") as origin:
        yield origin


def ovens(origin: str, backend: str) -> int:
    """Calls of `bake` that are running, by another client."""

    async def ask() -> int:
        with anyio.fail_after(LIMIT_SECONDS):
            async with Client(f"{origin}/mcp") as client:
                result = await client.call_tool("ovens_in_use")
                return int(result.structured_content["result"])

    return anyio.run(ask, backend=backend)


def test_the_page_and_the_tool_come_from_one_process(origin: str, anyio_backend: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{origin}/", timeout=LIMIT_SECONDS) as answer:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.read() == PAGE.read_bytes()
    assert ovens(origin, anyio_backend) == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def bake(browser: Browser, loaves: int, *, old: bool = False) -> str:
    """Type the number and press the button. Returns the beginning of the ids of what shows the outcome."""
    prefix = "old-" if old else ""
    browser.run("element('loaves').value = arguments[0]; element(arguments[1]).click()", loaves, f"{prefix}bake")
    return prefix


def baked(browser: Browser, prefix: str) -> tuple[Any, Any, str]:
    """What the bar shows and what the page says, once it says something."""
    browser.until(f"element('{prefix}result').value")
    script = "const [bar, result] = [...arguments].map(element); return [bar.value, bar.max, result.value]"
    bar, most, said = browser.run(script, f"{prefix}bar", f"{prefix}result")
    return bar, most, said


@pytest.mark.chromium
def test_a_page_shows_progress_live_and_stops_the_tool(browser: Browser, origin: str, anyio_backend: str) -> None:
    browser.open(f"{origin}/")
    bake(browser, 100_000)
    browser.until("element('bar').value >= 2")  # far from the end, so this did not wait for it
    assert browser.run("return [element('bar').max, element('result').value]") == [100_000, ""]
    assert ovens(origin, anyio_backend) == 1
    browser.run("element('stop').click()")
    browser.until("element('result').value === 'stopped'")
    deadline = time.monotonic() + LIMIT_SECONDS
    while ovens(origin, anyio_backend):  # the fetch is gone, and the tool goes with its connection
        assert time.monotonic() < deadline
    assert baked(browser, bake(browser, 2)) == (2, 2, "2 loaves are baked")
    assert baked(browser, bake(browser, 0))[2].startswith("invalid arguments for tool 'bake'")


@pytest.mark.chromium
def test_the_old_endpoint_through_eventsource(browser: Browser, origin: str) -> None:
    browser.open(f"{origin}/")
    bake(browser, 100_000, old=True)
    browser.until("element('old-bar').value >= 2")
    assert browser.run("return element('old-result').value") == ""
    browser.open(f"{origin}/")  # which leaves that one behind
    assert baked(browser, bake(browser, 2, old=True)) == (2, 2, "2 loaves are baked")


@pytest.mark.chromium
@pytest.mark.parametrize("old", [False, True], ids=["fetch", "EventSource"])
def test_a_page_of_another_origin_needs_leave(browser: Browser, origin: str, old: bool) -> None:
    """The same page under three names: what it calls is `origin`, which is another origin to all but the first."""
    port = urlsplit(origin).port
    for name, calls in (("localhost", True), (ALLOWED, True), (REFUSED, False)):
        browser.open(f"http://{name}:{port}/?server={origin}")
        assert browser.run("return location.origin") != origin
        outcome = baked(browser, bake(browser, 1, old=old))
        if calls:
            assert outcome == (1, 1, "1 loaves are baked")
        else:
            assert outcome == (0, 1, "failed: the stream of events broke" if old else "failed: Failed to fetch")
