"""nginx in front of two processes with one server each: what passes through it, and who answers.

The configuration is examples/deploy/nginx.conf, with other ports and a short `proxy_read_timeout` around it. Nothing is
said about buffering there, which nginx does, on connections without chunks, unless the response forbids it.
"""

import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import pytest
from cli.program import Site, site
from interop.listening import PATIENCE_SECONDS, Listening, listening, running
from transports.raw_http import until

from mcpcore import Client, ConnectionLost, PeerError
from mcpcore.types import ElicitResult

pytestmark = [pytest.mark.nginx, pytest.mark.anyio]

READ_TIMEOUT_SECONDS = 1
"""How long nginx waits for the next byte of a response."""

QUIET_SECONDS = 0.2
"""After how long a silent event stream says something."""

COMMENTS = 10
"""Keep-alive comments that together take longer than nginx waits."""

STATE_KEY = "one and the same key for both of 32 bytes or more"

DEPLOYED = (Path(__file__).parents[2] / "examples" / "deploy" / "nginx.conf").read_text()

AROUND = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}

http {{
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_read_timeout {timeout}s;

    include deployed.conf;

    # What nginx speaks to a server when it is told nothing: one connection for each request, and no chunks.
    server {{
        listen 127.0.0.1:{old_port};
        location / {{
            proxy_pass http://127.0.0.1:{first};
            proxy_http_version 1.0;
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


def deployed(first: int, second: int, port: int) -> str:
    """The configuration of the example on the ports of this test."""
    text, count = re.subn(r"server 127\.0\.0\.1:8001 ", f"server 127.0.0.1:{first} ", DEPLOYED)
    text, other = re.subn(r"server 127\.0\.0\.1:8002 ", f"server 127.0.0.1:{second} ", text)
    text, listens = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", text)
    assert (count, other, listens) == (2, 2, 1)
    return text


class Proxied(NamedTuple):
    port: int
    """Where nginx listens and speaks HTTP/1.1 to the processes."""
    old_port: int
    """Where it speaks HTTP/1.0 to them."""
    behind: tuple[Listening, Listening]

    def url(self, path: str = "/mcp", *, old: bool = False) -> str:
        return f"http://127.0.0.1:{self.old_port if old else self.port}{path}"


@contextmanager
def proxied(backend: str, place: Path, quiet_seconds: float) -> Iterator[Proxied]:
    """Two processes, and nginx as whoever runs the tests, with all it writes below `place`."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx is not None, "install nginx"
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(listening(backend, str(quiet_seconds), MCPCORE_STATE_KEY=STATE_KEY)) for _ in range(2)
        )
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            port, old_port = (free.getsockname()[1] for free in (one, other))
        ports = {"first": first.port, "second": second.port, "port": port, "old_port": old_port}
        (place / "nginx.conf").write_text(AROUND.format(**ports, timeout=READ_TIMEOUT_SECONDS))
        (place / "deployed.conf").write_text(deployed(first.port, second.port, port))
        command = [nginx, "-p", str(place), "-e", "stderr", "-c", "nginx.conf"]
        # Said when its sockets are open.
        stack.enter_context(running(command, re.compile(r"\[notice\].* nginx/")))
        yield Proxied(port, old_port, (first, second))


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def proxy(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with proxied(anyio_backend, tmp_path_factory.mktemp("nginx"), QUIET_SECONDS) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
async def _deadline(anyio_backend: str) -> AsyncIterator[None]:
    with anyio.fail_after(PATIENCE_SECONDS):
        yield


async def answer(question: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Paris" if question.message == "Which city?" else "Rome"})


async def release(proxy: Proxied, name: str, step: int) -> None:
    """Let `hold` go on, in whichever process it runs."""
    for process in proxy.behind:
        async with Client(process.http) as client:
            await client.call_tool("release", {"name": name, "step": step})


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("kind", ["modern", "legacy", "sse"])
async def test_events_pass_while_the_tool_runs(proxy: Proxied, kind: str, version: str) -> None:
    """The tool reports a step and waits until somebody has seen it: a report that is held back would end nothing."""
    name = f"{kind} {version}"
    seen = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)
        await release(proxy, name, int(progress))

    url = proxy.url("/sse" if kind == "sse" else "/mcp", old=version == "1.0")
    async with Client(url, era="auto" if kind == "sse" else kind) as client:
        result = await client.call_tool("hold", {"name": name, "steps": 3}, on_progress=show)
    assert result.structured_content == {"result": "held"}
    assert seen == [1, 2, 3]


async def test_stateless_requests_go_to_both_processes_in_turn(proxy: Proxied) -> None:
    async with Client(proxy.url(), era="modern") as client:
        processes = [(await client.call_tool("process")).structured_content["result"] for _ in range(6)]
    assert len(set(processes)) == 2
    assert processes[:2] * 3 == processes


async def test_a_question_is_answered_in_another_process(proxy: Proxied) -> None:
    async with Client(proxy.url(), era="modern", on_elicit=answer) as client:
        asked, answered = (await client.call_tool("travel")).structured_content["result"]
        assert asked != answered
        assert (await client.call_tool("ask")).content[0].text == "Paris, Rome"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_session_stays_where_it_began(proxy: Proxied, kind: str) -> None:
    homes = set()
    async with AsyncExitStack() as stack:
        for _ in range(8):
            target = Client(proxy.url("/sse")) if kind == "sse" else Client(proxy.url(), era="legacy", on_elicit=answer)
            client = await stack.enter_async_context(target)
            calls = [(await client.call_tool("process")).structured_content["result"] for _ in range(4)]
            assert len(set(calls)) == 1
            homes.update(calls)
            if kind == "http":
                assert (await client.call_tool("ask")).content[0].text == "Paris, Rome"
    assert len(homes) == 2


HOLD = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hold","arguments":{"name":"%s","steps":1},'
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"raw","version":"1"},"progressToken":1}}}'
)


def hold_request(name: bytes) -> bytes:
    body = HOLD % name
    return (
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
        b"Mcp-Method: tools/call\r\nMcp-Name: hold\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def test_keep_alive_comments_outlast_the_timeout_of_the_proxy(proxy: Proxied) -> None:
    async with await anyio.connect_tcp("127.0.0.1", proxy.port) as stream:
        await stream.send(hold_request(b"alive"))
        began = anyio.current_time()
        received = b""
        while received.count(b"\n:\n") < COMMENTS:
            received += await stream.receive()
        assert anyio.current_time() - began > READ_TIMEOUT_SECONDS
        assert b'"held"' not in received
        await release(proxy, "alive", 1)
        while b'"held"' not in received:
            received += await stream.receive()


async def test_without_comments_the_proxy_gives_up(anyio_backend: str, tmp_path: Path) -> None:
    """Which shows that the test above would notice."""
    with proxied(anyio_backend, tmp_path, PATIENCE_SECONDS) as proxy:
        async with await anyio.connect_tcp("127.0.0.1", proxy.port) as stream:
            await stream.send(hold_request(b"silent"))
            received = b"".join([part async for part in stream])
    assert b"step 1" in received
    assert b'"held"' not in received


SERVER = """
import os
import anyio
from mcpcore import Context, Server

server = Server("restarted")

@server.tool
async def work(name: str, seconds: float, ctx: Context) -> int:
    with open(os.environ["WORK_LOG"], "a") as log:
        log.write(name + "\\n")
    await anyio.sleep(seconds)
    return os.getpid()
"""


@pytest.fixture
def instances(tmp_path: Path, anyio_backend: str) -> Iterator[tuple[str, Any, list[Site]]]:
    """The URL at nginx, how one of two programs is started, and the two."""
    file = tmp_path / "restarted.py"
    file.write_text(SERVER)
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx is not None, "install nginx"
    environment = {"WORK_LOG": str(tmp_path / "log"), "MCPCORE_STATE_KEY": STATE_KEY}
    with ExitStack() as stack:

        def begin(port: int) -> Site:
            return stack.enter_context(site(file, "--port", str(port), "--backend", anyio_backend, **environment))

        sites = [begin(0), begin(0)]
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            port, old_port = (free.getsockname()[1] for free in (one, other))
        ports = {"first": sites[0].port, "old_port": old_port}
        (tmp_path / "nginx.conf").write_text(AROUND.format(**ports, timeout=PATIENCE_SECONDS))
        (tmp_path / "deployed.conf").write_text(deployed(sites[0].port, sites[1].port, port))
        command = [nginx, "-p", str(tmp_path), "-e", "stderr", "-c", "nginx.conf"]
        stack.enter_context(running(command, re.compile(r"\[notice\].* nginx/")))
        yield f"http://127.0.0.1:{port}/mcp", begin, sites


CLIENTS = 4
CALLS = 20
"""Before a process is restarted, and after both were."""


async def test_a_restart_one_after_the_other(instances: Any, tmp_path: Path) -> None:
    """As the head of examples/deploy/mcpcore@.service has it: what runs is finished, the other process answers
    meanwhile, and nothing runs twice. A call that arrives in the moment of the signal may be lost: nginx finds out by
    sending it."""
    url, begin, sites = instances
    done: list[str] = []
    lost: dict[str, str] = {}
    pids: set[int] = set()
    stopping = anyio.Event()

    async def use(name: int) -> None:
        async with Client(url, era="modern") as client:
            number = 0
            while not stopping.is_set():
                number += 1
                call = f"{name} {number}"
                try:
                    result = await client.call_tool("work", {"name": call, "seconds": 0.05})
                except ConnectionLost as error:
                    lost[call] = str(error)
                else:
                    pids.add(result.structured_content["result"])
                    done.append(call)

    async def more() -> None:
        seen = len(done)
        await until(lambda: len(done) >= seen + CALLS)

    async with anyio.create_task_group() as tasks:
        for name in range(CLIENTS):
            tasks.start_soon(use, name)
        for place in (0, 1):
            await more()
            assert await anyio.to_thread.run_sync(sites[place].stop) == 0
            sites[place] = await anyio.to_thread.run_sync(begin, sites[place].port)
        await more()
        stopping.set()
    assert len(pids) == 4
    assert len(lost) <= 2 * CLIENTS
    assert all("HTTP 502" in why for why in lost.values())
    ran = (tmp_path / "log").read_text().split("\n")[:-1]
    assert len(ran) == len(set(ran))
    assert set(done) <= set(ran) <= {*done, *lost}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_call_whose_process_dies_is_not_made_again(instances: Any, tmp_path: Path, era: Any) -> None:
    url, _, sites = instances
    log = tmp_path / "log"
    async with Client(url, era=era) as client:
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises((ConnectionLost, PeerError)):
                    await client.call_tool("work", {"name": "once", "seconds": 60})

            tasks.start_soon(call)
            await until(lambda: log.exists() and log.read_text() != "")  # it is there before what is written is
            for one in sites:
                one.process.kill()
    assert log.read_text() == "once\n"


async def test_what_is_for_the_server_and_what_is_not(proxy: Proxied) -> None:
    async with await anyio.connect_tcp("127.0.0.1", proxy.port) as stream:
        for path, status in ((b"/metrics", b"404"), (b"/readyz", b"200")):
            await stream.send(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path)
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive()
            assert received.split()[1] == status
    async with Client(proxy.url(), era="modern") as client:
        large = "x" * 3_000_000  # more than nginx takes unless it is told
        with pytest.raises(PeerError, match="there is no tool"):
            await client.call_tool("none", {"text": large})
