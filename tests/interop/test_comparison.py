"""The README's comparison, played: the same bytes to this library, the official SDK and FastMCP, and what each does.

Each test is a row. Its table says what is expected of whom, so that a row that is no longer true turns red.
"""

import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from interop.comparing import (
    META,
    MODERN,
    Program,
    Sent,
    answered,
    call_of,
    called,
    data_of,
    forgetful,
    initialize,
    request,
    session,
)
from interop.listening import PATIENCE_SECONDS
from mcp.server import MCPServer
from packaging.requirements import Requirement

import mcpcore
import mcpcore_transports
from mcpcore import Client, Server

HANGS_SECONDS = 0.3
"""For a process that ends at once or not at all; one that does not is then made to, by other means."""

MANY = 300
"""Calls at the same time: more than one session of this library may have running."""

LIBRARIES = ("ours on trio", "ours on asyncio", "official", pytest.param("fastmcp", marks=pytest.mark.fastmcp))


@pytest.fixture(scope="module", params=LIBRARIES)
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    """All that a library serves over HTTP, with a port each: "json" answers without streams, "http" as it likes, "sse"
    is HTTP+SSE."""
    with closing(Program(request.param, "http")) as running:
        yield running


@pytest.fixture(params=LIBRARIES)
def child(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A server over stdio that has been initialized."""
    with closing(Program(request.param, "stdio")) as running:
        assert running.ask(initialize())["result"]["protocolVersion"] == "2025-11-25"
        running.hear("stdio begins")
        yield running


# -- rows: revisions and transports ----------------------------------------------------------------------------------


def test_batch_of_2025_03_26(program: Program) -> None:
    port = program.port("json")
    with session(port, "2025-03-26") as headers:
        status, answer, _ = answered(port, "POST", "/mcp", [request(1, "ping"), request(2, "ping")], **headers)
    assert status == {"ours": 200, "official": 400, "fastmcp": 400}[program.name]
    if status == 200:
        assert sorted(one["id"] for one in answer) == [1, 2]


def test_both_http_transports_from_one_application(program: Program) -> None:
    port = program.port("http")
    assert answered(port, "POST", "/mcp", initialize())[0] == 200
    with closing(Sent(port, "GET", "/sse")) as sent, sent.answer() as answer:
        assert answer.status == {"ours": 200, "official": 404, "fastmcp": 404}[program.name]
    # Theirs do speak it, from an application of its own.
    with closing(Sent(program.port("sse"), "GET", "/sse")) as sent, sent.answer() as answer:
        assert answer.status == 200


def test_an_era_is_switched_off(program: Program) -> None:
    if program.name == "ours":
        status, answer, _ = answered(program.port("modern"), "POST", "/mcp", initialize())
        assert (status, answer["error"]["code"]) == (404, -32601), answer
        assert called(program.port("modern"), "add", a=1)["structuredContent"] == {"result": 1}
    else:
        # There is nothing to say so with.
        options = inspect.signature(MCPServer.streamable_http_app).parameters
        assert [name for name in options if re.search("era|legacy|revision|version|modern", name)] == []
        assert answered(program.port("json"), "POST", "/mcp", initialize())[0] == 200
        assert called(program.port("json"), "add", a=1)["structuredContent"] == {"result": 1}


def test_a_stream_can_be_resumed_as_it_comes(program: Program) -> None:
    """Without a store of one's own, or any option; and what others may resume."""
    port = program.port("http")
    step = request(1, "tools/call", name="step", arguments={}, _meta={"progressToken": 1})
    with session(port) as mine, session(port) as other:
        with closing(Sent(port, "POST", "/mcp", step, **mine)) as sent, sent.answer() as answer:
            text = answer.read().decode()
        assert "notifications/progress" in text
        ids = re.findall(r"^id: *(\S+)", text, re.MULTILINE)
        assert bool(ids) is {"ours": True, "official": False, "fastmcp": False}[program.name]
        if ids:
            with closing(Sent(port, "GET", "/mcp", **mine, Last_Event_ID=ids[-2])) as sent, sent.answer() as answer:
                assert json.loads(data_of(answer))["result"]["structuredContent"] == {"result": "stepped"}
            assert answered(port, "GET", "/mcp", **other, Last_Event_ID=ids[-2])[0] == 400


def test_lifespans_of_two_sse_clients(program: Program) -> None:
    port = program.port("sse")
    with ExitStack() as stack:
        for _ in range(2):
            answer = stack.enter_context(stack.enter_context(closing(Sent(port, "GET", "/sse"))).answer())
            path = data_of(answer)
            assert answered(port, "POST", path, initialize())[0] == 202
            assert json.loads(data_of(answer))["id"] == 0
        # Both have been served by now.
        if program.name == "official":
            program.hear("sse begins", 2)
        else:
            assert program.count("both begins" if program.name == "ours" else "sse begins") == 1


def test_one_publish_for_both_eras(program: Program) -> None:
    port, uri = program.port("http"), "demo://watched"
    with ExitStack() as stack:
        headers = stack.enter_context(session(port))
        subscribed = Sent(port, "POST", "/mcp", request(1, "resources/subscribe", uri=uri), **headers)
        with closing(subscribed), subscribed.answer() as answer:
            text = answer.read().decode()
        old = '"error"' not in text
        if not old:
            assert "-32601" in text
        wanted = request(2, "subscriptions/listen", notifications={"resourceSubscriptions": [uri]}, _meta=META)
        listen = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "subscriptions/listen"}
        listening = stack.enter_context(closing(Sent(port, "POST", "/mcp", wanted, **listen))).answer()
        stack.enter_context(listening)
        new = listening.status == 200
        assert (old, new) == {"ours": (True, True), "official": (False, True), "fastmcp": (False, False)}[program.name]
        if not new:
            assert "-32601" in listening.read().decode()
            return
        streams = [listening]
        assert "acknowledged" in data_of(listening)
        if old:
            stream = stack.enter_context(closing(Sent(port, "GET", "/mcp", **headers))).answer()
            streams.append(stack.enter_context(stream))
        body, call = call_of("publish")
        assert answered(port, "POST", "/mcp", body, **call)[0] == 200
        for stream in streams:
            told = json.loads(data_of(stream))
            assert (told["method"], told["params"]["uri"]) == ("notifications/resources/updated", uri)


# -- rows: what ends when ---------------------------------------------------------------------------------------------


def test_the_client_of_a_json_answer_leaves(program: Program) -> None:
    port = program.port("json")
    holds, cancelled, held = (program.count(word) for word in ("holds", "cancelled", "held"))
    body, headers = call_of("hold")
    with closing(Sent(port, "POST", "/mcp", body, **headers)):
        program.hear("holds", holds + 1)
    if program.name == "ours":
        program.hear("cancelled", cancelled + 1)
    else:
        assert called(port, "add", a=1)["structuredContent"] == {"result": 1}
        called(port, "release")
        program.hear("held", held + 1)
        assert program.count("cancelled") == cancelled


def test_sigterm_and_the_lifespan_of_a_stdio_server(child: Program) -> None:
    child.process.send_signal(signal.SIGTERM)
    code = child.process.wait(PATIENCE_SECONDS)
    if child.name == "ours":
        assert code == 0
        child.hear("stdio ends")
    else:
        assert code == -signal.SIGTERM
        child.hear_all()
        assert child.count("stdio ends") == 0


def test_sigint_on_a_stdio_server_that_waits(child: Program) -> None:
    child.process.send_signal(signal.SIGINT)
    if child.name == "ours":
        child.process.wait(PATIENCE_SECONDS)
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            child.process.wait(HANGS_SECONDS)
        assert child.process.stdin is not None
        child.process.stdin.close()
        child.process.wait(PATIENCE_SECONDS)
    child.hear("stdio ends")


def test_sync_tools_that_block_and_a_tool_that_does_not(child: Program) -> None:
    """Over stdio, whose pipe the threads of the tools have nothing to do with."""
    calls = [request(id, "tools/call", name="block", arguments={}) for id in range(1, 51)]
    child.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, *calls)
    child.hear("blocks", 32)
    child.send(request(51, "tools/call", name="release", arguments={}))
    if child.name == "ours":
        child.hear("released")
    else:
        with pytest.raises(AssertionError):
            child.hear("released", seconds=HANGS_SECONDS)
    assert child.count("unblocked") == 0
    child.process.send_signal(signal.SIGUSR1)
    child.hear("unblocked", 50)
    child.hear("released")


def test_calls_of_one_session_at_the_same_time(program: Program) -> None:
    port = program.port("json")
    first = len(program.said)
    most = {"ours": 256, "official": MANY, "fastmcp": MANY}[program.name]
    holds, held = program.count("holds"), program.count("held")
    with session(port) as headers, ExitStack() as stack:
        sent = [
            stack.enter_context(
                closing(Sent(port, "POST", "/mcp", request(id, "tools/call", name="hold", arguments={}), **headers))
            )
            for id in range(1, MANY + 1)
        ]
        program.hear("holds", holds + most)
        called(port, "release")
        program.hear("held", held + most)
        program.hear("holds", holds + MANY)
        called(port, "release")
        for one in sent:
            with one.answer() as answer:
                assert json.loads(answer.read())["result"]["content"][0]["text"] == "held"
    running, peak = 0, 0
    for words in program.said[first:]:
        running += {"holds": 1, "held": -1}.get(words, 0)
        peak = max(peak, running)
    assert peak == most


# -- rows: the high-level server --------------------------------------------------------------------------------------


def test_pages_of_a_list(program: Program) -> None:
    port = program.port("json")
    with session(port) as headers:
        _, answer, _ = answered(port, "POST", "/mcp", request(1, "tools/list"), **headers)
    paged = {"ours": True, "official": False, "fastmcp": True}[program.name]
    assert ("nextCursor" in answer["result"]) is paged
    assert (len(answer["result"]["tools"]) == 2) is paged


def test_an_argument_that_the_tool_does_not_have(program: Program) -> None:
    result = called(program.port("json"), "add", a=1, other=2)
    assert result["isError"] is {"ours": True, "official": False, "fastmcp": True}[program.name]


def test_an_argument_of_another_type(program: Program) -> None:
    """The schema that all of them publish says integer."""
    result = called(program.port("json"), "add", a="1")
    assert result["isError"] is {"ours": True, "official": False, "fastmcp": False}[program.name]


def test_metrics(program: Program) -> None:
    status, text, _ = answered(program.port("json"), "GET", "/metrics")
    assert status == {"ours": 200, "official": 404, "fastmcp": 404}[program.name]
    assert ("mcpcore_requests_total" in text) is (status == 200)


# -- rows: the client -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_client_whose_session_is_gone(backend: str) -> None:
    async def ours(url: str) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with Client(url, era="legacy") as client:
                assert await client.list_tools() == []

    async def official(url: str) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with mcp.Client(url, mode="legacy") as client:
                with pytest.raises(mcp.MCPError, match="Session terminated"):
                    await client.list_tools()

    with forgetful() as (url, methods):
        anyio.run(ours, url, backend=backend)
        assert methods.count("initialize") == 2
    with forgetful() as (url, methods):
        anyio.run(official, url, backend=backend)
        assert methods.count("initialize") == 1


# -- rows: what there is ----------------------------------------------------------------------------------------------


def fastmcp(script: str, *words: str) -> str:
    """What a program says that runs where FastMCP is."""
    command = [os.environ["MCPCORE_FASTMCP"], "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed_for(requirements: list[str]) -> set[str]:
    """The distributions that these and what they require make, without extras that nobody asked for."""
    found: set[str] = set()
    left = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while left:
        one, extra = left.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        found.add(name)
        for wanted in ("", *one.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                left += [(Requirement(text), wanted) for text in importlib.metadata.requires(name) or ()]
    return found


def test_distributions_that_an_installation_takes() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert len(installed_for(project["dependencies"])) + 1 <= 17
    assert 26 <= len(installed_for(["mcp"])) <= 30


def offers(*names: str) -> list[bool]:
    return [importlib.util.find_spec(name) is not None for name in names]


def modules_of(package: Any) -> str:
    return " ".join(str(path) for path in Path(package.__file__).parent.rglob("*.py"))


def test_what_only_some_ship() -> None:
    # Bridges between transports.
    assert offers("mcpcore.bridge.bridge") == [True]
    assert re.search("bridge|proxy", modules_of(mcp).rpartition("site-packages")[2]) is None
    # What the official SDK has, and this library does not: dependencies of parameters, MCP Apps, an authorization
    # server's routes.
    assert offers("mcp.server.mcpserver.resolve", "mcp.server.apps", "mcp.server.auth.routes") == [True] * 3
    ours = modules_of(mcpcore) + modules_of(mcpcore_transports)
    assert re.search(r"/(resolve|depends|dependencies|apps|openapi|routes|oauth_proxy)\b", ours) is None
    assert [name for name in ("from_openapi", "mount", "extension") if hasattr(Server, name)] == []
    # What neither has.
    assert hasattr(MCPServer, "from_openapi") is False
    assert "tasks" not in [*dir(Server), *dir(MCPServer)]
    assert re.search(r"/(tasks|event_store)\b", modules_of(mcp)) is None
    assert offers("mcpcore_transports.http.replay") == [True]


@pytest.mark.fastmcp
def test_what_fastmcp_ships_and_takes_and_its_client_whose_session_is_gone() -> None:
    """All that is asked of it in one process, which takes seconds to start."""
    script = f"""
import asyncio, importlib.metadata, re, sys
import fastmcp.apps, fastmcp.server.event_store
from fastmcp import Client, FastMCP
from fastmcp.dependencies import Depends
from fastmcp.server import create_proxy
from fastmcp.server.auth.oauth_proxy import OAuthProxy
from fastmcp.server.auth.providers.github import GitHubProvider
from packaging.requirements import Requirement

{inspect.getsource(installed_for)}

async def main():
    async with Client(sys.argv[1], mode="legacy") as client:
        try:
            await client.list_tools()
        except Exception as error:
            print(error)

assert FastMCP.from_openapi and FastMCP.mount
assert "tasks" in importlib.metadata.metadata("fastmcp").get_all("Provides-Extra")
print(len(installed_for(["fastmcp"])))
asyncio.run(main())
"""
    with forgetful() as (url, methods):
        distributions, error = fastmcp(script, url).splitlines()
        assert methods.count("initialize") == 1
    assert error == "Session terminated"
    assert 65 <= int(distributions) <= 80, distributions
