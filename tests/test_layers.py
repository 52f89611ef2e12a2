"""Import arrows point down: every module stands on a rung and imports only from rungs below its own.

An import counts wherever it stands in a file: inside a function or below TYPE_CHECKING too, since a reader has to
follow it all the same. What is found by name at run time (`import_module`) is no arrow: transports are found so.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import mcpcore
import mcpcore_transports

MAX_LINES = 600
"""Lines of one file; half of that is the aim."""

CORE_LADDER = (
    "chain errors revisions groups traffic wakeup",
    "types.base",
    "types.input_required types.logs types.meta types.roots types.shapes types.subscriptions",
    "types.completion types.content types.lifecycle types.tasks",
    "types.elicitation types.prompts types.resources types.tools",
    "types.sampling",
    "types",
    "jsonrpc members methods principal",
    "configuration prefixing splicing",
    "channel exchange",
    "multiplex workers",
    "session transport",
    "cache calling downgrade eras schema sealing serving templates threads validation",
    "adaptation changes eras.negotiation eras.rounds forms tracing",
    "eras.handshake eras.stateless",
    "answering asking crossing targets",
    "connection context",
    "catalogue.handler listening middleware watching",
    "catalogue.completion catalogue.prompt catalogue.resource catalogue.tool client dispatch metrics",
    "catalogue.catalogue",
    "catalogue",
    "server",
    "bridge bridge.flight bridge.tap",
    "bridge.upstream",
    "bridge.piping",
    "bridge.downward bridge.upward",
    "bridge.front",
    "bridge.bridge group group.member",
    "group.client_group",
    "testing.contract testing.faults testing.pipes testing.virtual_time testing.wire_log",
    "testing.peers",
    "testing.check_asking testing.check_closing testing.check_pressure",
    "testing.check_channel testing.connected",
    "testing",
    "cli cli.access cli.render cli.usage",
    "cli.arguments cli.flags cli.progress cli.protection cli.release",
    "cli.question cli.source",
    "cli.ending cli.target",
    "cli.authorizing cli.served cli.visit",
    "cli.bridge cli.call cli.list cli.login cli.run",
    "cli.main",
    "__main__",
    "mcpcore",
)
"""The modules of `mcpcore`, lowest first. Those of one rung do not know each other. The package itself comes last:
what it lends its names from may stand anywhere, and nothing inside borrows them back."""

TRANSPORTS_LADDER = (
    "mcpcore_transports framing stdio sse web",
    "framing.addresses framing.basic framing.challenges framing.headers framing.jose framing.lines framing.origins "
    "framing.wellknown",
    "framing.eventstream",
    "stdio.environment stdio.pipe stdio.redirection stdio.stderr",
    "stdio.descriptors stdio.threads",
    "stdio.diagnostics",
    "stdio.processes stdio.server",
    "stdio.client",
    "web.access web.client_limits web.exchange web.head web.limits web.readiness web.response_parser web.sockets",
    "web.chunks web.peer web.urls web.wire",
    "protected.credentials protected.location",
    "protected.guard protected.verifier",
    "protected.api_keys protected.claims protected.resource",
    "oauth.errors oauth.scopes",
    "oauth.assertions oauth.flight oauth.redirects oauth.storage oauth.token",
    "oauth.dpop oauth.metadata",
    "oauth.authorization oauth.registration",
    "oauth.authentication oauth.records",
    "web.departures web.encoder web.parser web.pool web.proxy web.tls",
    "web.h11parser",
    "web.httptoolsparser",
    "web.connection web.dialing web.parsers web.request_head web.response",
    "web.incoming web.reply web.request",
    "web.asgi web.client web.listener",
    "web.fetching",
    "oauth.fetching protected.fetching",
    "oauth.discovery oauth.token_endpoint protected.introspection protected.jwks",
    "protected.dpop protected.jwt_verifier",
    "http.events http.exchanges http.expiry http.failures http.measured http.negotiation http.patience http.questions "
    "http.replay",
    "http.served",
    "http.verifying",
    "http.authorized http.streams",
    "oauth.access oauth.bearer",
    "oauth.login oauth.machine",
    "http.replies http.sessions",
    "http.options sse.client sse.server",
    "http.admission",
    "http.channel http.handshake",
    "http.client http.endpoint",
    "http.server",
    "http.mounted http.under_hypercorn http.workers",
    "http oauth protected",
)
"""The modules of `mcpcore_transports`, lowest first, all of them above `mcpcore`."""

FOR_TRANSPORTS = frozenset(
    (
        "mcpcore.channel",
        "mcpcore.errors",
        "mcpcore.exchange",
        "mcpcore.groups",
        "mcpcore.jsonrpc",
        "mcpcore.methods",
        "mcpcore.multiplex",
        "mcpcore.principal",
        "mcpcore.revisions",
        "mcpcore.traffic",
        "mcpcore.types",
        "mcpcore.wakeup",
    )
)
"""What of the core a transport may use, ours like anybody's."""

PURE = (
    "mcpcore.adaptation",
    "mcpcore.cache",
    "mcpcore.changes",
    "mcpcore.crossing",
    "mcpcore.downgrade",
    "mcpcore.eras",
    "mcpcore.errors",
    "mcpcore.exchange",
    "mcpcore.forms",
    "mcpcore.groups",
    "mcpcore.jsonrpc",
    "mcpcore.members",
    "mcpcore.methods",
    "mcpcore.prefixing",
    "mcpcore.principal",
    "mcpcore.revisions",
    "mcpcore.schema",
    "mcpcore.sealing",
    "mcpcore.splicing",
    "mcpcore.templates",
    "mcpcore.traffic",
    "mcpcore.types",
    "mcpcore.validation",
    "mcpcore_transports.framing",
    "mcpcore_transports.oauth.assertions",
    "mcpcore_transports.oauth.authentication",
    "mcpcore_transports.oauth.authorization",
    "mcpcore_transports.oauth.dpop",
    "mcpcore_transports.oauth.errors",
    "mcpcore_transports.oauth.metadata",
    "mcpcore_transports.oauth.registration",
    "mcpcore_transports.oauth.scopes",
    "mcpcore_transports.oauth.token",
)
"""Rules without input, output or waiting, and all below them: modules and packages."""

IMPURE = frozenset(("anyio", "asyncio", "sniffio", "socket", "trio"))

SERVER_SIDE = (
    "mcpcore.asking",
    "mcpcore.catalogue",
    "mcpcore.context",
    "mcpcore.crossing",
    "mcpcore.dispatch",
    "mcpcore.eras.handshake",
    "mcpcore.eras.rounds",
    "mcpcore.eras.stateless",
    "mcpcore.metrics",
    "mcpcore.middleware",
    "mcpcore.sealing",
    "mcpcore.server",
    "mcpcore.serving",
    "mcpcore.threads",
    "mcpcore.watching",
    "mcpcore_transports.http.admission",
    "mcpcore_transports.http.endpoint",
    "mcpcore_transports.http.expiry",
    "mcpcore_transports.http.handshake",
    "mcpcore_transports.http.measured",
    "mcpcore_transports.http.mounted",
    "mcpcore_transports.http.options",
    "mcpcore_transports.http.patience",
    "mcpcore_transports.http.replay",
    "mcpcore_transports.http.replies",
    "mcpcore_transports.http.served",
    "mcpcore_transports.http.server",
    "mcpcore_transports.http.sessions",
    "mcpcore_transports.http.streams",
    "mcpcore_transports.http.under_hypercorn",
    "mcpcore_transports.http.verifying",
    "mcpcore_transports.http.workers",
    "mcpcore_transports.sse.server",
    "mcpcore_transports.stdio.redirection",
    "mcpcore_transports.stdio.server",
    "mcpcore_transports.stdio.stderr",
    "mcpcore_transports.web.asgi",
    "mcpcore_transports.web.connection",
    "mcpcore_transports.web.departures",
    "mcpcore_transports.web.incoming",
    "mcpcore_transports.web.listener",
    "mcpcore_transports.web.reply",
)
CLIENT_SIDE = (
    "mcpcore.answering",
    "mcpcore.cache",
    "mcpcore.client",
    "mcpcore.connection",
    "mcpcore.group",
    "mcpcore.eras.negotiation",
    "mcpcore.listening",
    "mcpcore.targets",
    "mcpcore.validation",
    "mcpcore_transports.http.authorized",
    "mcpcore_transports.http.channel",
    "mcpcore_transports.http.client",
    "mcpcore_transports.http.events",
    "mcpcore_transports.http.failures",
    "mcpcore_transports.http.questions",
    "mcpcore_transports.oauth",
    "mcpcore_transports.sse.client",
    "mcpcore_transports.stdio.client",
    "mcpcore_transports.stdio.environment",
    "mcpcore_transports.stdio.processes",
    "mcpcore_transports.web.client",
    "mcpcore_transports.web.client_limits",
    "mcpcore_transports.web.dialing",
    "mcpcore_transports.web.pool",
    "mcpcore_transports.web.proxy",
    "mcpcore_transports.web.request_head",
    "mcpcore_transports.web.response",
    "mcpcore_transports.web.response_parser",
    "mcpcore_transports.web.wire",
)

BOTH_SIDES = ("mcpcore.bridge", "mcpcore.cli", "mcpcore.testing", "mcpcore.__main__")
"""What is a server and a client at once, programs and tests."""

PACKAGES = {
    "mcpcore": Path(mcpcore.__file__).parent,
    "mcpcore_transports": Path(mcpcore_transports.__file__).parent,
}


def _modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _ladder() -> dict[str, int]:
    rungs = [
        (package, line)
        for package, ladder in zip(PACKAGES, (CORE_LADDER, TRANSPORTS_LADDER), strict=True)
        for line in ladder
    ]
    return {
        name if name == package else f"{package}.{name}": height
        for height, (package, line) in enumerate(rungs)
        for name in line.split()
    }


RUNG = _ladder()


class Arrow(NamedTuple):
    target: str
    """A module of ours, or any other by the name it was imported with."""
    line: int
    relative: bool


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def arrows_of(module: str) -> tuple[Arrow, ...]:
    return tuple(_arrows(tree_of(module)))


def _arrows(tree: ast.Module) -> Iterator[Arrow]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Arrow(alias.name, node.lineno, False)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield Arrow(inside if inside in MODULES else str(node.module), node.lineno, node.level > 0)


def _is_in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _reached_from(module: str) -> set[str]:
    """Every module of ours that comes along: what is imported, and what the packages around that import at once."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one in seen or one in PACKAGES:
            continue
        seen.add(one)
        waiting += [arrow.target for arrow in arrows_of(one) if arrow.target in MODULES]
        around = one.rpartition(".")[0]
        if around not in PACKAGES:
            waiting += [arrow.target for arrow in _arrows(_loaded_part(around)) if arrow.target in MODULES]
    return seen


def _loaded_part(module: str) -> ast.Module:
    """The statements that run when the module is loaded: a package may lend names lazily and be typed all the same."""
    lazy = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    body = [node for node in tree_of(module).body if not isinstance(node, lazy) and not _for_checkers(node)]
    return ast.Module(body, type_ignores=[])


def _for_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_every_module_has_a_rung_and_every_rung_a_module() -> None:
    assert {"without a rung": MODULES.keys() - RUNG.keys(), "without a file": RUNG.keys() - MODULES.keys()} == {
        "without a rung": set(),
        "without a file": set(),
    }


def test_no_module_stands_on_two_rungs() -> None:
    names = [name for line in (*CORE_LADDER, "-", *TRANSPORTS_LADDER) for name in line.split()]
    core, transports = names[: names.index("-")], names[names.index("-") + 1 :]
    assert len(set(core)) == len(core)
    assert len(set(transports)) == len(transports)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    wrong = [
        f"line {arrow.line}: {module} imports {arrow.target}, which is not below it"
        for arrow in arrows_of(module)
        if arrow.target in MODULES and not RUNG.get(arrow.target, -1) < RUNG.get(module, 10_000)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_absolute_and_name_modules_that_exist(module: str) -> None:
    for arrow in arrows_of(module):
        assert not arrow.relative, f"line {arrow.line}: a relative import"
        top = arrow.target.partition(".")[0]
        assert top not in ("transports", "tests", "examples"), f"line {arrow.line}: {arrow.target} is no module"
        assert top not in PACKAGES or arrow.target in MODULES, f"line {arrow.line}: there is no {arrow.target}"


@pytest.mark.parametrize("module", [name for name in MODULES if _is_in(name, PURE)])
def test_pure_modules_neither_wait_nor_do_input_or_output(module: str) -> None:
    wrong = [f"line {a.line}: imports {a.target}" for a in arrows_of(module) if a.target.partition(".")[0] in IMPURE]
    waiting = (ast.AsyncFor, ast.AsyncFunctionDef, ast.AsyncWith, ast.Await)
    wrong += [f"line {node.lineno}: waits" for node in ast.walk(tree_of(module)) if isinstance(node, waiting)]
    assert wrong == []


@pytest.mark.parametrize("module", [name for name in MODULES if _is_in(name, PURE) and name.startswith("mcpcore.")])
def test_pure_modules_rest_on_pure_modules(module: str) -> None:
    assert {name for name in _reached_from(module) if not _is_in(name, PURE)} == set()


def test_the_pure_modules_are_there() -> None:
    assert [name for name in PURE if name not in MODULES] == []
    assert [name for name in (*SERVER_SIDE, *CLIENT_SIDE, *BOTH_SIDES) if name not in MODULES] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("mcpcore_transports")])
def test_a_transport_uses_what_anybodys_could(module: str) -> None:
    used = {arrow.target for arrow in arrows_of(module) if arrow.target.partition(".")[0] == "mcpcore"}
    assert used - FOR_TRANSPORTS == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("mcpcore.") or name == "mcpcore"])
def test_the_core_knows_no_transport(module: str) -> None:
    assert [arrow for arrow in arrows_of(module) if arrow.target.startswith("mcpcore_transports")] == []


@pytest.mark.parametrize("module", MODULES)
def test_server_and_client_do_not_import_each_other(module: str) -> None:
    if _is_in(module, BOTH_SIDES) or module in PACKAGES:
        return
    reached = _reached_from(module)
    server = sorted(name for name in reached if _is_in(name, SERVER_SIDE))
    client = sorted(name for name in reached if _is_in(name, CLIENT_SIDE))
    assert not (server and client), f"{module} brings in {server} and {client}"


@pytest.mark.parametrize("module", MODULES)
def test_no_backend_is_imported_at_module_level(module: str) -> None:
    for node in tree_of(module).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        assert not {name.partition(".")[0] for name in names} & {"asyncio", "trio"}, f"line {node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_readable(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MAX_LINES
