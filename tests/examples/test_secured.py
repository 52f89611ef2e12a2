"""examples/secured.py: who gets in, from which pages, how often, with how much, and over TLS."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from certificate import certify
from cli.program import LIMIT_SECONDS, environment, program, site

from mcpcore import Client, PeerError

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "secured.py"
ANN, BOB = "anns-key-0123456789abcdef", "bobs-key-0123456789abcdef"
PAGE = "https://app.example.com"


@pytest.fixture
def keys(tmp_path: Path) -> str:
    path = tmp_path / "keys"
    path.write_text(f"ann {ANN} notes:write\nbob {BOB}\n")
    path.chmod(0o600)
    return str(path)


def post(url: str, key: str | None, tool: str, arguments: Mapping[str, Any], **more: str) -> tuple[int, Any, Any]:
    """Status, headers and answer of one call, made without a library of ours."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "page", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        **({} if key is None else {"Authorization": f"Bearer {key}"}),
        **more,
    }
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, json.load(refused)


def said(answer: Any) -> Any:
    return answer["result"]["structuredContent"]["result"]


def test_keys_scopes_pages_and_sizes(anyio_backend: str, keys: str) -> None:
    variables = {
        "MCPCORE_API_KEY_FILE": keys,
        "MCPCORE_CORS_ORIGINS": PAGE,
        "MCPCORE_MAX_BODY": "4096",
        "MCPCORE_BACKEND": anyio_backend,
    }
    with site(EXAMPLE, **variables) as running:
        [url] = running.urls
        status, headers, answer = post(url, ANN, "note", {"text": "hello"}, Origin=PAGE)
        assert (status, headers["access-control-allow-origin"], said(answer)) == (200, PAGE, 1)
        assert said(post(url, ANN, "read_notes", {})[2]) == ["hello"]
        assert said(post(url, BOB, "read_notes", {})[2]) == []
        status, headers, _ = post(url, BOB, "note", {"text": "mine"})
        assert (status, 'scope="notes:write"' in headers["www-authenticate"]) == (403, True)
        assert post(url, None, "read_notes", {})[0] == 401
        assert post(url, "neither", "read_notes", {})[0] == 401
        assert post(url, ANN, "read_notes", {}, Origin="https://elsewhere.example.com")[0] == 403
        assert post(url, ANN, "note", {"text": "x" * 5000})[0] == 413
        assert running.stop() == 0
        assert not any(key in line for key in (ANN, BOB) for line in running.said)


async def test_whoever_calls_too_often_is_told_when_to_come_back(anyio_backend: str, keys: str) -> None:
    with site(EXAMPLE, MCPCORE_API_KEY_FILE=keys, MCPCORE_BACKEND=anyio_backend, RATE="2") as running:
        url = running.urls[0]
        with anyio.fail_after(LIMIT_SECONDS):
            async with Client(url, headers={"authorization": f"Bearer {BOB}"}) as bob:
                for _ in range(2):
                    await bob.call_tool("read_notes")
                with pytest.raises(PeerError, match=r"2 calls a minute are allowed; come back in \d+ s"):
                    await bob.call_tool("read_notes")
                assert len(await bob.list_tools()) == 2
            async with Client(url, headers={"authorization": f"Bearer {ANN}"}) as ann:
                assert (await ann.call_tool("read_notes")).structured_content == {"result": []}


def test_tls(anyio_backend: str, keys: str, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    (tmp_path / "tls.toml").write_text(f'certfile = "{certificate}"\nkeyfile = "{certificate}"\n')
    variables = {
        "MCPCORE_API_KEY_FILE": keys,
        "MCPCORE_HTTP_SERVER": "hypercorn",
        "MCPCORE_HYPERCORN_CONFIG": str(tmp_path / "tls.toml"),
        "MCPCORE_BACKEND": anyio_backend,
    }
    with site(EXAMPLE, **variables) as running:
        url = running.urls[0].replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        for trusted, outcome in ((str(certificate), (0, "1\n")), (None, (1, ""))):
            trust = {} if trusted is None else {"SSL_CERT_FILE": trusted}
            done = subprocess.run(
                program("call", url, "note", "text=hello"),
                env=environment(MCPCORE_TOKEN=ANN, **trust),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
            assert (done.returncode, done.stdout) == outcome, done.stderr
        assert running.stop() == 0
