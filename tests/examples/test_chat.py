"""examples/chat.py with a small OpenAI-compatible endpoint on this machine, which says what a model would."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, PYTHONPATH, environment, program, site

EXAMPLES = Path(__file__).parents[2] / "examples"


def spoken(text: str) -> list[dict[str, Any]]:
    return [{"content": piece} for piece in text.split("|")]


def called(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """As endpoints stream them: each call begins with its id and name, and its arguments come in two pieces."""
    pieces = []
    for index, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments)
        first, second = text[:3], text[3:]
        begin = {"index": index, "id": f"call_{index}", "function": {"name": name, "arguments": first}}
        pieces.append({"tool_calls": [begin]})
        pieces.append({"tool_calls": [{"index": index, "function": {"arguments": second}}]})
    return pieces


class Endpoint(BaseHTTPRequestHandler):
    """Answers the requests for completions, one after another, with what `server.answers` holds."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))  # type: ignore[attr-defined]
        answer = self.server.answers.pop(0)  # type: ignore[attr-defined]
        if isinstance(answer, int):
            self.send_response(answer)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"full")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for delta in answer:
            chunk = json.dumps({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]})
            self.wfile.write(f"data: {chunk}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what it says would be in the tests' output."""


@pytest.fixture
def endpoint() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as listening:
        listening.asked, listening.answers = [], []  # type: ignore[attr-defined]
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def chat(endpoint: Any, config: Path, backend: str, said: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "chat.py"), str(config), "--model", "small"],
        env=environment(
            MCPCORE_BACKEND=backend,
            OPENAI_BASE_URL=f"http://127.0.0.1:{endpoint.server_port}/v1/",
            OPENAI_API_KEY="key-of-the-endpoint",
        ),
        input=said,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


@pytest.fixture
def servers(tmp_path: Path, backend: str) -> Iterator[Path]:
    """An mcpServers JSON with a server over stdio, the same one over HTTP, and one that ends at once."""
    (tmp_path / "poem.txt").write_text("one two three")
    config = tmp_path / "mcp.json"
    command, *arguments = program("run", str(EXAMPLES / "files.py"), "--backend", backend)
    variables = {"PYTHONPATH": PYTHONPATH}
    stdio = {"command": command, "args": arguments, "cwd": str(tmp_path), "env": variables}
    broken = {"command": sys.executable, "args": ["-c", "raise SystemExit(3)"]}
    with site(EXAMPLES / "files.py", "--backend", backend) as running:
        remote = {"type": "http", "url": running.urls[0]}
        config.write_text(json.dumps({"mcpServers": {"local": stdio, "remote": remote, "broken": broken}}))
        yield config


def test_the_model_uses_tools_of_two_servers_at_once(endpoint: Any, servers: Path, backend: str) -> None:
    endpoint.answers = [
        [
            *spoken("Let me |look."),
            *called(("local__count_words", {"path": "poem.txt"}), ("remote__count_words", {"path": "nowhere.txt"})),
        ],
        spoken("The poem has |three words."),
        spoken("You are welcome."),
    ]
    done = chat(endpoint, servers, backend, "How long is the poem?\nThanks\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "local: 3 tools, 2026-07-28" in done.stdout
    assert "remote: 3 tools, 2026-07-28" in done.stdout
    assert "broken: not connected: " in done.stdout
    assert "> Let me look.\n" in done.stdout
    assert "[local__count_words: 1 of 1 poem.txt]" in done.stdout
    assert done.stdout.index("[local__count_words {") < done.stdout.index("The poem has three words.\n")

    first, second, third = endpoint.asked
    assert first[:2] == ("/v1/chat/completions", "Bearer key-of-the-endpoint")
    offered = {tool["function"]["name"]: tool["function"] for tool in first[2]["tools"]}
    assert offered["local__count_words"]["parameters"]["required"] == ["path"]
    assert not any(name.startswith("broken") for name in offered)
    assert first[2]["messages"] == [{"role": "user", "content": "How long is the poem?"}]
    assistant, one, other = second[2]["messages"][1:]
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == [
        '{"path": "poem.txt"}',
        '{"path": "nowhere.txt"}',
    ]
    assert (one["role"], one["tool_call_id"], json.loads(one["content"])["words"]) == ("tool", "call_0", 3)
    assert other["tool_call_id"] == "call_1"
    assert other["content"].startswith("error: there is no 'nowhere.txt' below ")
    assert third[2]["messages"][-2:] == [
        {"role": "assistant", "content": "The poem has three words."},
        {"role": "user", "content": "Thanks"},
    ]


def test_what_goes_wrong_ends_a_turn_and_not_the_chat(endpoint: Any, servers: Path, backend: str) -> None:
    endpoint.answers = [429, called(("nobody__does", {})), spoken("I cannot do that.")]
    done = chat(endpoint, servers, backend, "First\nSecond\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "/chat/completions: HTTP 429: full" in done.stdout
    assert "I cannot do that.\n" in done.stdout
    result = endpoint.asked[2][2]["messages"][-1]
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_0")
    assert result["content"].startswith("error: no server that is connected has the tool 'nobody__does'")


def test_a_model_that_calls_for_ever_is_stopped(endpoint: Any, tmp_path: Path, backend: str) -> None:
    config = tmp_path / "mcp.json"
    config.write_text('{"mcpServers": {}}')
    endpoint.answers = [called(("nobody__does", {})) for _ in range(20)]
    done = chat(endpoint, config, backend, "Begin\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the model still calls tools after 16 rounds" in done.stdout
    assert len(endpoint.asked) == 16
