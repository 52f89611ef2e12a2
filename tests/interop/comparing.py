"""What test_comparison.py plays with: running servers, requests as bytes, and a server that forgets its session."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from interop.listening import PATIENCE_SECONDS, SERVERS

import mcpcore
import mcpcore_transports

__all__ = (
    "META",
    "MODERN",
    "Program",
    "Sent",
    "answered",
    "call_of",
    "called",
    "data_of",
    "forgetful",
    "initialize",
    "request",
    "session",
)

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
PYTHONPATH = os.pathsep.join(
    dict.fromkeys(str(Path(package.__file__ or "").parents[1]) for package in (mcpcore, mcpcore_transports))
)


def request(id: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def initialize(revision: str = "2025-11-25") -> dict[str, Any]:
    client = {"name": "raw", "version": "1"}
    return request(0, "initialize", protocolVersion=revision, capabilities={}, clientInfo=client)


class Program:
    """A running server, and what it says on stderr."""

    def __init__(self, library: str, how: str) -> None:
        self.name = library.partition(" ")[0]
        python = os.environ["MCPCORE_FASTMCP"] if self.name == "fastmcp" else sys.executable
        words = [python, str(SERVERS / f"compared_{self.name}.py"), how, *library.split(" on ")[1:]]
        quiet = {"FASTMCP_CHECK_FOR_UPDATES": "off", "FASTMCP_LOG_LEVEL": "ERROR"}
        path = {"PYTHONPATH": PYTHONPATH} if self.name == "ours" else {}
        self.process = subprocess.Popen(
            words,
            env={**os.environ, **path, **quiet},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._ended = False
        self._condition = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._condition:
                self.said.append(line.strip().removeprefix("compared: "))
                self._condition.notify_all()
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def count(self, words: str) -> int:
        return self.said.count(words)

    def hear(self, words: str, count: int = 1, seconds: float = PATIENCE_SECONDS) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._ended or self.count(words) >= count, seconds)
        assert self.count(words) >= count, f"{words!r} was not said {count} times: {self.said[-20:]}"

    def hear_all(self) -> None:
        """Of a program that has ended."""
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive()

    def port(self, name: str) -> int:
        pattern = re.compile(f"{name} listens at (\\d+)")
        with self._condition:
            self._condition.wait_for(lambda: self._ended or any(map(pattern.match, self.said)), PATIENCE_SECONDS)
        found = [int(match[1]) for match in map(pattern.match, self.said) if match]
        assert found, f"nothing listens as {name!r}: {self.said[-20:]}"
        return found[0]

    def send(self, *messages: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{json.dumps(message)}\n" for message in messages))
        self.process.stdin.flush()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One request over stdio; a server that does not answer is killed, and then says nothing."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        watchdog.start()
        try:
            self.send(message)
            return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]
        finally:
            watchdog.cancel()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was left to be written


class Sent:
    """A request over a connection of its own."""

    def __init__(self, port: int, method: str, path: str, body: Any = None, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        accept = "text/event-stream" if body is None else "application/json, text/event-stream"
        head = {"Accept": accept, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            head["Content-Type"] = "application/json"
        self.connection.request(method, path, None if body is None else json.dumps(body), head)

    def answer(self) -> http.client.HTTPResponse:
        return self.connection.getresponse()

    def close(self) -> None:
        self.connection.close()


def answered(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, str | None]:
    """Its status, what it says, and the session that it opened."""
    with closing(Sent(port, method, path, body, **headers)) as sent, sent.answer() as answer:
        text = answer.read().decode()
        is_json = (answer.getheader("content-type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text, answer.getheader("mcp-session-id")


def call_of(name: str, **arguments: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A call of 2026-07-28, and its headers."""
    body = request(1, "tools/call", name=name, arguments=arguments, _meta=META)
    return body, {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": name}


def called(port: int, name: str, **arguments: Any) -> Any:
    body, headers = call_of(name, **arguments)
    status, answer, _ = answered(port, "POST", "/mcp", body, **headers)
    assert status == 200, answer
    return answer["result"]


@contextmanager
def session(port: int, revision: str = "2025-11-25") -> Iterator[dict[str, str]]:
    """The headers of one."""
    status, _, id = answered(port, "POST", "/mcp", initialize(revision))
    assert status == 200
    assert id is not None
    headers = {"Mcp_Session_Id": id, "MCP_Protocol_Version": revision}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert answered(port, "POST", "/mcp", ready, **headers)[0] == 202
    yield headers
    assert answered(port, "DELETE", "/mcp", **headers)[0] in (200, 202, 204)


def data_of(answer: http.client.HTTPResponse) -> str:
    """Of the next event with any."""
    for line in answer:
        if line.startswith(b"data:") and (data := line[5:].strip()):
            return data.decode()
    raise AssertionError("the stream has ended")


class Forgetful(BaseHTTPRequestHandler):
    """Knows the first session no longer when it is asked for a list."""

    protocol_version = "HTTP/1.1"
    methods: list[str]

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method = message["method"]
        self.methods.append(method)
        begun = self.methods.count("initialize")
        if "id" not in message:
            self.reply(202)
        elif method == "initialize":
            offer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
            self.reply(200, message["id"], {**offer, "serverInfo": {"name": "f", "version": "1"}}, f"s{begun}")
        elif self.headers["mcp-session-id"] == "s1":
            self.reply(404)
        else:
            self.reply(200, message["id"], {"tools": []})

    def do_GET(self) -> None:
        self.reply(405)

    def do_DELETE(self) -> None:
        self.reply(200)

    def reply(self, status: int, id: Any = None, result: Any = None, session: str | None = None) -> None:
        body = b"" if result is None else json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if body:
            self.send_header("content-type", "application/json")
        if session is not None:
            self.send_header("mcp-session-id", session)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def forgetful() -> Iterator[tuple[str, list[str]]]:
    methods: list[str] = []
    handler = type("Handler", (Forgetful,), {"methods": methods})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/mcp", methods
        finally:
            server.shutdown()
            thread.join(PATIENCE_SECONDS)
