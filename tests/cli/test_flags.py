"""cli/flags: what the flags of a served transport say, and what they are refused for."""

from argparse import Namespace
from inspect import signature
from typing import Any

import pytest

from mcpcore.cli.flags import RUN_FLAGS, SERVING_FLAGS, said_by_variables, serving_options
from mcpcore.cli.usage import WrongUsage
from mcpcore.serving import run_server
from mcpcore_transports.http import server as own_listener
from mcpcore_transports.http import under_hypercorn


def options(*transports: str, **given: Any) -> dict[str, Any]:
    """The options of flags as argparse has them."""
    none = {flag.attribute: False if flag.metavar is None else None for flag in SERVING_FLAGS}
    return serving_options(Namespace(**none | given), transports)


def test_flags_become_the_options_of_serving() -> None:
    given = {
        "host": "127.0.0.1",
        "port": "0",
        "path": "/a",
        "sse_path": "/b",
        "public_url": "https://x",
        "allow_host": ["a", "b,c"],
        "allow_origin": ["https://y"],
        "json_response": True,
        "max_body": "1000",
        "max_sessions": "7",
        "max_streams": "8",
        "read_timeout": "0.5",
        "stream_timeout": "4",
        "keepalive": "2.5",
        "idle_timeout": "3",
        "session_timeout": "60",
        "http_server": "hypercorn",
        "hypercorn_config": "file",
        "workers": "2",
        "access_log": True,
    }
    assert options("http", "sse", **given) == {
        "host": "127.0.0.1",
        "port": 0,
        "path": "/a",
        "sse_path": "/b",
        "public_url": "https://x",
        "allow_hosts": ("a", "b", "c"),
        "allow_origins": ("https://y",),
        "json_response": True,
        "max_body_bytes": 1000,
        "max_sessions": 7,
        "max_streams": 8,
        "read_timeout": 0.5,
        "stream_timeout": 4,
        "keepalive": 2.5,
        "idle_timeout": 3,
        "idle_seconds": 60,
        "http_server": "hypercorn",
        "hypercorn_config": "file",
        "workers": 2,
        "access_log": True,
    }
    assert options("stdio") == {}
    assert options("http", http_parser="httptools") == {"http_parser": "httptools"}
    assert options("http", max_connections="9") == {"max_connections": 9}


def parameters(*functions: Any) -> set[str]:
    return {name for function in functions for name in signature(function).parameters}


def test_each_row_has_a_keyword_of_serving_and_each_setting_a_row() -> None:
    """`serve` passes what it does not know itself to the transport; the rest is taken by `run_server`."""
    keywords = {flag.keyword for flag in SERVING_FLAGS}
    taken = parameters(own_listener.serve, under_hypercorn.serve, run_server) | {"http_server"}
    assert keywords - taken == set()
    for_programs = {"server", "sockets", "store", "limits", "task_status", "options", "grace"}
    assert parameters(own_listener.serve) - keywords == for_programs - {"options"}


def test_no_two_rows_share_a_flag_or_a_variable() -> None:
    rows = (*RUN_FLAGS, *SERVING_FLAGS)
    assert len({flag.name for flag in rows}) == len({flag.variable for flag in rows}) == len(rows)


def test_a_refusal_names_the_variable_that_said_it(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {flag.attribute: None for flag in SERVING_FLAGS}
    monkeypatch.setenv("MCPCORE_CORS_ORIGINS", "nowhere")
    text = "'nowhere' is no origin (--allow-origin, allow_origins=)"
    assert said_by_variables(text, Namespace(**none)) == f"{text} (set by MCPCORE_CORS_ORIGINS)"
    assert said_by_variables(text, Namespace(**none | {"allow_origin": ["nowhere"]})) == text
    monkeypatch.setenv("MCPCORE_KEEPALIVE", "0")
    with pytest.raises(WrongUsage, match=r"^MCPCORE_KEEPALIVE: '0' is no time to wait"):
        options("http")


def test_variables_say_the_same_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MCPCORE_PORT": "81",
        "MCPCORE_HOST": "",
        "MCPCORE_ALLOW_HOST": "a, b",
        "MCPCORE_CORS_ORIGINS": "https://x,https://y",
        "MCPCORE_JSON_RESPONSE": "no",
        "MCPCORE_ACCESS_LOG": "true",
        "MCPCORE_WORKERS": "3",
    }.items():
        monkeypatch.setenv(name, value)
    assert options("http", port="82") == {
        "port": 82,
        "allow_hosts": ("a", "b"),
        "allow_origins": ("https://x", "https://y"),
        "json_response": False,
        "access_log": True,
        "workers": 3,
    }
    assert "workers" not in options("stdio", "http")


def test_a_variable_for_other_programs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPCORE_PORT", "not a port")
    monkeypatch.setenv("MCPCORE_HYPERCORN_CONFIG", "file")
    assert options("stdio") == {}
    monkeypatch.setenv("MCPCORE_PORT", "1")
    monkeypatch.setenv("MCPCORE_HTTP_PARSER", "h11")
    assert options("http", http_server="hypercorn", port="2") == {
        "http_server": "hypercorn",
        "hypercorn_config": "file",
        "port": 2,
    }
    monkeypatch.delenv("MCPCORE_HTTP_PARSER")
    assert options("http", uds="socket") == {"uds": "socket"}


@pytest.mark.parametrize(
    ("transports", "given", "message"),
    [
        (["stdio"], {"port": "1"}, "--port is for the transport http or sse, and this is stdio"),
        (["stdio"], {"access_log": True}, "--access-log is for the transport http or sse"),
        (["http"], {"sse_path": "/x"}, "--sse-path is for the transport sse, and this is http"),
        (["sse"], {"path": "/x"}, "--path is for the transport http, and this is sse"),
        (["sse"], {"json_response": True}, "--json-response is for the transport http"),
        (["http"], {"port": "65536"}, "--port: '65536' is no port: 0 to 65535"),
        (["http"], {"path": "mcp"}, "--path: 'mcp' is no path"),
        (["http"], {"workers": "0"}, "--workers: '0' is no whole number above 0"),
        (["http"], {"read_timeout": "soon"}, "--read-timeout: 'soon' is no number of seconds"),
        (["http"], {"stream_timeout": "0"}, "--stream-timeout: '0' is no time to wait"),
        (
            ["http"],
            {"max_connections": "1", "http_server": "hypercorn"},
            "--max-connections is a limit of the built-in",
        ),
        (["http"], {"http_server": "uvicorn"}, "--http-server: 'uvicorn' is none of h11, hypercorn"),
        (["http"], {"http_parser": "nodejs"}, "--http-parser: 'nodejs' is none of auto, h11, httptools"),
        (["http"], {"http_parser": "h11", "http_server": "hypercorn"}, "--http-parser is for --http-server h11"),
        (["http"], {"uds": "x", "port": "1"}, "--uds and --port are two places to listen"),
        (["http"], {"hypercorn_config": "x"}, "--hypercorn-config needs --http-server hypercorn"),
        (["http", "stdio"], {"workers": "2"}, "--workers share an HTTP port, and stdio has none"),
    ],
)
def test_what_cannot_be_honoured_is_refused(transports: list[str], given: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUsage) as wrong:
        options(*transports, **given)
    assert message in str(wrong.value)
