"""The flags of `mcpcore run`: one table for the parser, the help, the variables and the keywords of serving."""

import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from mcpcore.cli.usage import WrongUsage, count, one_of, path, period, port, seconds, setting, switch

if TYPE_CHECKING:
    from argparse import Namespace

__all__ = ("RUN_FLAGS", "SERVING_FLAGS", "Flag", "said_by_variables", "serving_options")

_HTTP = frozenset(("http",))
_SSE = frozenset(("sse",))
_WEB = _HTTP | _SSE


class Flag(NamedTuple):
    name: str
    """Without the dashes."""

    metavar: str | None
    """What stands for the value in the help; None when there is none to give."""

    about: str
    read: Callable[[str], Any] = str
    """From text to value; raises ValueError."""

    option: str = ""
    """The keyword of `mcpcore.serve`, if it is not the name."""

    transports: frozenset[str] = _WEB
    """It means something for any of these."""

    many: bool = False
    """May be given several times; its environment variable is a comma-separated list."""

    variable_name: str = ""
    """The environment variable without MCPCORE_, if it is not the name in capitals, with underscores."""

    part_of: str = ""
    """The keyword of `mcpcore.serve` that this makes together with others."""

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    @property
    def keyword(self) -> str:
        return self.part_of or self.option or self.attribute

    @property
    def variable(self) -> str:
        return f"MCPCORE_{self.variable_name or self.attribute.upper()}"


RUN_FLAGS: tuple[Flag, ...] = (
    Flag("transport", "NAME", "stdio (the default), http, sse, or several: http,sse share a port"),
    Flag("backend", "NAME", "trio or asyncio; else what the Server says, else asyncio"),
    Flag("grace", "SECONDS", "what accepted work gets at the end (5)", seconds),
    Flag("era", "NAME", "of its clients: all, modern or legacy; else what a Server says"),
)
"""What is said about any transport."""

SERVING_FLAGS: tuple[Flag, ...] = (
    Flag("host", "ADDRESS", "where to listen (127.0.0.1)"),
    Flag("port", "NUMBER", "where to listen (8000); 0 is any free port", port),
    Flag("uds", "FILE", "listen on this Unix socket instead"),
    Flag("path", "PATH", "of Streamable HTTP (/mcp)", path, transports=_HTTP),
    Flag("sse-path", "PATH", "of HTTP+SSE (/sse); its clients post to PATH/messages", path, transports=_SSE),
    Flag("public-url", "URL", "what clients call the server when a proxy stands in front of it"),
    Flag(
        "allow-host",
        "NAME",
        "a host name that clients may use; again for more, * for all",
        str,
        "allow_hosts",
        many=True,
    ),
    Flag(
        "allow-origin",
        "ORIGIN",
        "an origin whose pages may use the server; again for more",
        str,
        "allow_origins",
        many=True,
        variable_name="CORS_ORIGINS",
    ),
    Flag("auth-issuer", "URL", "who issues the JWTs that clients have to show", part_of="auth"),
    Flag("auth-audience", "URL", "what those are made for, if not the URL that clients call", part_of="auth"),
    Flag("auth-jwks", "URL", "where the issuer's keys are, if its metadata does not say so", part_of="auth"),
    Flag("auth-scope", "SCOPE", "what every client needs; again for more", many=True, part_of="auth"),
    Flag("api-key-file", "FILE", "lines of SUBJECT KEY [SCOPE …]: who may come in with a key", part_of="auth"),
    Flag(
        "json-response", None, "never answer with an event stream; leaves notifications out", switch, transports=_HTTP
    ),
    Flag("max-body", "BYTES", "of one request (4194304)", count, "max_body_bytes"),
    Flag("max-sessions", "NUMBER", "open at the same time (10000)", count),
    Flag("max-streams", "NUMBER", "event streams that wait for something to happen, at the same time (10000)", count),
    Flag("max-connections", "NUMBER", "open at the same time (4096); clients beyond it wait", count),
    Flag("read-timeout", "SECONDS", "in which a head (10), and a body (60), has to arrive", seconds),
    Flag("stream-timeout", "SECONDS", "that a client may leave what it is sent unread (30)", period),
    Flag("keepalive", "SECONDS", "of silence after which an event stream sends a comment (15)", period),
    Flag("idle-timeout", "SECONDS", "that a connection is kept without a request (75)", period),
    Flag("session-timeout", "SECONDS", "that a session is kept without use (1800)", period, "idle_seconds"),
    Flag("http-server", "NAME", "h11 (the default, built in) or hypercorn", one_of("h11", "hypercorn")),
    Flag("http-parser", "NAME", "h11, httptools, or auto: the faster one there is", one_of("auto", "h11", "httptools")),
    Flag("hypercorn-config", "FILE", "TOML, or Python in a .py, with hypercorn's settings: TLS, HTTP/2"),
    Flag("workers", "NUMBER", "processes that share the port (1); see below", count),
    Flag("metrics", None, "Prometheus metrics at /metrics, for whoever may use the server", switch),
    Flag("metrics-port", "NUMBER", "Prometheus metrics at a port of their own; with --workers from it on", port),
    Flag("metrics-host", "ADDRESS", "where that port is (127.0.0.1); all who reach another address can read it"),
    Flag("access-log", None, "a line of JSON on stderr for each HTTP request", switch),
)


def serving_options(arguments: "Namespace", transports: Collection[str]) -> dict[str, Any]:
    """What the flags and their variables say, as keywords of `mcpcore.serve`; nothing that nobody said.

    A flag that the transports cannot honour is refused; a variable is for all programs of its environment, and is
    left alone where it means nothing. Raises `WrongUsage`.
    """
    found: dict[str, Any] = {}
    for flag in SERVING_FLAGS:
        given = getattr(arguments, flag.attribute)
        if not flag.transports & set(transports):
            if given:
                meant = " or ".join(sorted(flag.transports))
                raise WrongUsage(f"--{flag.name} is for the transport {meant}, and this is {','.join(transports)}")
            continue
        value = setting(_text(given), f"--{flag.name}", flag.read, variable=flag.variable)
        if value is None:
            continue
        if flag.many:
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        found[flag.option or flag.attribute] = value
    if found.get("metrics") and found.get("workers", 1) > 1:
        raise WrongUsage("--metrics would show any one of the --workers: give --metrics-port, where each has its own")
    if "uds" in found:
        for name in ("host", "port"):
            if getattr(arguments, name):
                raise WrongUsage(f"--uds and --{name} are two places to listen: give one")
            found.pop(name, None)
    if found.get("http_server") == "hypercorn" and found.pop("max_connections", None) and arguments.max_connections:
        raise WrongUsage("--max-connections is a limit of the built-in server; hypercorn has none")
    if found.get("http_server", "h11") == "h11" and found.pop("hypercorn_config", None) and arguments.hypercorn_config:
        raise WrongUsage("--hypercorn-config needs --http-server hypercorn")
    if found.get("http_server", "h11") != "h11" and found.pop("http_parser", None) and arguments.http_parser:
        raise WrongUsage("--http-parser is for --http-server h11: hypercorn has its own")
    if found.get("workers", 1) > 1 and not _WEB.issuperset(transports):
        if arguments.workers:
            raise WrongUsage("--workers share an HTTP port, and stdio has none: serve it by itself")
        del found["workers"]
    return found


def said_by_variables(text: str, arguments: "Namespace") -> str:
    """The text of a refusal, which names flags, with the variables that stand for those of them nobody gave."""
    flags = [flag for flag in SERVING_FLAGS if f"--{flag.name}" in text and not getattr(arguments, flag.attribute)]
    named = [flag.variable for flag in flags if os.environ.get(flag.variable)]
    return f"{text} (set by {', '.join(named)})" if named else text


def _text(given: Any) -> str | None:
    """A flag as its environment variable would have it."""
    if isinstance(given, list):
        return ",".join(given)
    return "1" if given is True else given or None
