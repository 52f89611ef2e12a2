"""A headless Chromium, driven by the W3C's WebDriver protocol: JSON over HTTP, which takes no library."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.program import LIMIT_SECONDS

__all__ = ("Browser", "chromium")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    # Names of other origins; all of them are this machine, and no other name is looked up.
    "--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

_UNTIL = """
const [condition, done] = arguments;
const holds = new Function(`return (${condition})`);
const look = () => holds() ? done(true) : setTimeout(look, 5);
look();
"""


class Browser:
    """One window."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def command(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._driver + path, data, {"content-type": "application/json"}, method=method)
        with self._opener.open(request, timeout=LIMIT_SECONDS) as answer:
            return json.load(answer)["value"]

    def begin(self, profile: Path) -> None:
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = self.command("POST", "/session", {"capabilities": capabilities})
        self._driver += f"/session/{session['sessionId']}"
        self.command("POST", "/timeouts", {"script": LIMIT_SECONDS * 1000 - 2000})

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.command("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.command("POST", "/execute/sync", {"script": script, "args": arguments})

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true. Raises `HTTPError` when it takes too long."""
        self.command("POST", "/execute/async", {"script": _UNTIL, "args": [condition]})


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in this new directory."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            said = ""
            while (found := re.search(r"started successfully on port (\d+)", said)) is None:
                line = driver.stdout.readline()
                assert line, f"chromedriver ended: {said}"
                said += line
            browser = Browser(f"http://127.0.0.1:{found[1]}")
            browser.begin(profile)
            try:
                yield browser
            finally:
                browser.command("DELETE", "")
        finally:
            driver.kill()
