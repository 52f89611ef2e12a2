"""Servers over HTTP, checked once and then driven on many connections."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from measuring.contenders import Contender, Installed
from measuring.driver_http import HttpDriver, Reply, exchange
from measuring.program import Entry, Program
from measuring.slices import Slice
from measuring.wire import call, http_request, initialize, initialized

__all__ = (
    "CONNECTIONS",
    "checked",
    "entries",
    "http_contenders",
    "in_sessions",
    "open_session",
    "stateless",
)

CONNECTIONS = 32
"""Keep-alive connections with one request in flight on each."""

_WARM_SECONDS = 0.3

Requests = Callable[[int], Sequence[bytes]]
"""What each connection sends, given the port."""


def http_contenders(installed: Installed, *, json: bool) -> Iterable[tuple[str, Callable[[], Contender]]]:
    """Everybody who serves HTTP. `json` asks the peers for what answers without an event stream where they can."""
    flags = ("--json",) if json else ()
    for fast in (False, True):
        for backend in ("asyncio", "trio"):
            name = f"ours fast {backend}" if fast else f"ours {backend}"
            yield name, partial(installed.ours_over_http, backend=backend, fast=fast)
    yield "official SDK", partial(installed.official, "servers/official_server.py", *flags)
    yield "FastMCP", partial(installed.fastmcp, "servers/fastmcp_server.py", *flags)
    for parser in ("h11", "httptools"):
        for backend in ("asyncio", "trio"):
            command = ("--backend", backend, "--parser", parser)
            limit = partial(installed.limit, f"{parser} {backend}", "servers/limit_http.py", *command, needs=parser)
            yield f"limit {parser} {backend}", limit


def checked(reply: Reply, expected: str) -> Any:
    """The answer of a call, or RuntimeError when it is none, or not the expected one."""
    if reply.status != 200:
        raise RuntimeError(f"answers with {reply.status}: {reply.body[:200]!r}")
    answer: Any = next((found for found in reply.messages() if "id" in found and "method" not in found), {})
    result = answer.get("result", {})
    if result.get("isError") or result.get("content", [{}])[0].get("text") != expected:
        raise RuntimeError(f"does not answer as it should: {reply.body[:200]!r}")
    return answer


def open_session(port: int) -> str:
    """A session of the handshake era; returns its id."""
    reply = exchange(port, http_request(initialize(), port=port))
    session = reply.headers.get("mcp-session-id")
    if reply.status != 200 or session is None:
        raise RuntimeError(f"opens no session: {reply.status}")
    answered = exchange(port, http_request(initialized(), port=port, session=session))
    if answered.status != 202:
        raise RuntimeError(f"answers {answered.status} to notifications/initialized")
    return session


def entries(
    program: Program,
    contenders: Iterable[tuple[str, Callable[[], Contender]]],
    requests: Requests,
    expected: str,
    *,
    events: bool | None,
) -> list[Entry]:
    """Rows of server CPU per call. `events` says whether the answer is an event stream; None leaves it to the
    server."""

    def ready(contender: Callable[[], Contender]) -> tuple[str, Slice]:
        made = contender()
        server = program.server(made, http=True)
        assert server.port is not None
        sent = requests(server.port)
        reply = exchange(server.port, sent[0])
        checked(reply, expected)
        streamed = "event-stream" in reply.headers.get("content-type", "")
        if events is not None and streamed is not events:
            raise RuntimeError("answers with an event stream" if streamed else "answers without an event stream")
        driver = HttpDriver(server, sent)
        driver.run(_WARM_SECONDS)

        def measure() -> float:
            answered, cpu_ns, _ = driver.run(program.seconds)
            return cpu_ns / answered / 1000

        return made.group, measure

    return [(name, partial(ready, contender)) for name, contender in contenders]


def stateless(tool: str, arguments: dict[str, Any], *, token: Any = None) -> Requests:
    """The same call on each connection, without sessions."""

    def requests(port: int) -> Sequence[bytes]:
        message = call(1, tool, arguments, token=token)
        return [http_request(message, port=port, rpc="tools/call", name=tool)] * CONNECTIONS

    return requests


def in_sessions(tool: str, arguments: dict[str, Any], *, token: Any = None) -> Requests:
    """A session for each connection."""

    def requests(port: int) -> Sequence[bytes]:
        message = call(1, tool, arguments, stateless=False, token=token)
        return [http_request(message, port=port, session=open_session(port)) for _ in range(CONNECTIONS)]

    return requests
