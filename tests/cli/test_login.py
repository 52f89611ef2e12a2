"""Logging in from the command line, in processes of their own: the browser is a program that $BROWSER names."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from cli.conftest import Ended
from cli.program import LIMIT_SECONDS, PYTHONPATH, environment, program
from transports.protected_site import ProtectedSite, protected_site

from mcpcore.cli.authorizing import with_login
from mcpcore.cli.target import target_of
from mcpcore.cli.usage import WrongUsage

BROWSER = """\
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=20).close()
"""


@pytest.fixture
def site() -> Iterator[ProtectedSite]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(protected_site(5 * LIMIT_SECONDS)) as site,
    ):
        yield site


@pytest.fixture
def mcpcore(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs one command to its end."""
    browser = tmp_path / "browser.py"
    browser.write_text(BROWSER)

    def run(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        names = {"BROWSER": f"{sys.executable} {browser} %s", "XDG_STATE_HOME": str(tmp_path), **more}
        return subprocess.run(
            program(*words),
            env={**environment(**names), "no_proxy": "*"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    return run


Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_call_logs_in_when_it_must_and_once(mcpcore: Command, site: ProtectedSite, tmp_path: Path) -> None:
    first = mcpcore("call", site.url, "x", "--backend", "trio")
    assert (first.returncode, first.stdout) == (0, "done\n")
    assert len(site.seen("/authorize")) == 1
    assert f"{site.origin}/authorize?response_type=code" in first.stderr, "for whoever has no browser here"
    second = mcpcore("list", site.url)
    assert (second.returncode, second.stderr) == (0, "")
    assert len(site.seen("/authorize")) == 1
    files = sorted((tmp_path / "mcpcore" / "oauth").iterdir())
    assert [file.name.partition("-")[0] for file in files] == ["client", "client", "server", "token"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    assert all("secret" not in each.stdout + each.stderr for each in (first, second))


def test_a_login_with_a_client_of_ones_own(mcpcore: Command, site: ProtectedSite) -> None:
    done = mcpcore("login", site.url, "--client-id", "mine", "--scope", "write", MCPCORE_CLIENT_SECRET="client-secret")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"mcpcore: logged in to {site.url}\n")
    [authorized], [token] = site.seen("/authorize"), site.seen("/token")
    assert (authorized.query["client_id"], authorized.query["scope"]) == ("mine", "read write")
    assert "client-secret" not in done.stderr + json.dumps(authorized.query)
    assert token.headers["authorization"].startswith("Basic ")
    assert mcpcore("login", site.url, "--client-id", "mine").returncode == 0
    assert len(site.seen("/authorize")) == 2, "a login that was asked for is one"


def test_logout(mcpcore: Command, site: ProtectedSite, tmp_path: Path) -> None:
    mcpcore("login", site.url)
    assert mcpcore("logout", site.url).stderr == f"mcpcore: logged out of {site.url}\n"
    assert mcpcore("logout", site.url).stderr == f"mcpcore: there was no login at {site.url}\n"
    kept = {file.name.partition("-")[0] for file in (tmp_path / "mcpcore" / "oauth").iterdir()}
    assert kept == {"client"}


def test_a_bridge_is_logged_in_for_programs_that_cannot(mcpcore: Command, site: ProtectedSite, tmp_path: Path) -> None:
    mcpcore("login", site.url)
    words = " ".join(program("bridge", site.url))
    done = mcpcore("call", f"stdio:env PYTHONPATH={PYTHONPATH} XDG_STATE_HOME={tmp_path} {words}", "x")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert len(site.seen("/authorize")) == 1


def test_a_server_that_wants_no_login(mcpcore: Command, site: ProtectedSite) -> None:
    site.granted[""] = ""
    done = mcpcore("login", site.url)
    assert (done.returncode, done.stderr) == (0, f"mcpcore: {site.url} needs no login\n")


def test_a_token_is_all_that_is_sent(mcpcore: Command, site: ProtectedSite) -> None:
    site.granted["mine"] = ""
    assert mcpcore("call", site.url, "x", "--token", "mine").stdout == "done\n"
    refused = mcpcore("call", site.url, "x", MCPCORE_TOKEN="other")
    assert refused.returncode == 1
    assert "HTTP 401" in refused.stderr
    assert {asked.path for asked in site.log} == {"/mcp"}


def test_a_login_that_fails_is_one_line_that_says_what_to_do(mcpcore: Command, site: ProtectedSite) -> None:
    site.answer = {"code": "", "error": "access_denied"}
    done = mcpcore("call", site.url, "x")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mcpcore: http://127.0.0.1:")
    assert last.endswith("access_denied; the login was declined, by the user or by a rule of the authorization server")


def test_tokens_that_others_can_read_are_not_used(mcpcore: Command, site: ProtectedSite, tmp_path: Path) -> None:
    mcpcore("call", site.url, "x")
    [token] = (tmp_path / "mcpcore" / "oauth").glob("token-*")
    os.chmod(token, 0o644)
    done = mcpcore("call", site.url, "x")
    assert done.returncode == 1
    assert f"chmod 600 {token}" in done.stderr


def test_what_cannot_be_logged_in_to(run: Callable[..., Ended], server_file: Path) -> None:
    urls = [(command, url) for command in ("login", "logout") for url in ("http://[", "http://host:port/", "https://")]
    own = [("login", server_file), ("logout", "stdio:cat"), ("call", server_file, "x", "--client-id", "mine")]
    for words in (*own, *urls):
        ended = run(*words)
        assert ended.code == 2
        assert "log" in ended.err


def test_a_header_of_ones_own_is_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of("http://localhost/mcp", headers=["Authorization: Basic eA=="])
    assert with_login(target) is target
    with pytest.raises(WrongUsage, match="--client-id"):
        with_login(target, "mine")
