"""The tests mirror the sources: for each module there is a file of tests with its name.

A module is looked for by its own name and with its package's before it: `stdio/client.py` in `test_client.py` and
`test_stdio_client.py`.
"""

from pathlib import Path

import pytest
from test_layers import MODULES, tree_of

TESTS = Path(__file__).parent

FOLDERS = {"mcpcore.cli": "cli", "mcpcore_transports": "transports", "mcpcore": "core"}
"""Where the tests of a package are; the first that fits counts."""

TOGETHER = {
    "mcpcore": ("test_exports.py", "its only content is the table of names"),
    "mcpcore.__main__": ("cli/test_main.py", "it calls `main`"),
    "mcpcore.bridge.flight": ("core/test_piping.py", "what passes is what a flight passes on"),
    "mcpcore.bridge.front": ("core/test_bridge.py", "which way a message goes shows in what a client gets"),
    "mcpcore.bridge.tap": ("core/test_piping.py", "notifications are what it takes out"),
    "mcpcore.catalogue.handler": ("core/test_tool.py", "tools, resources and prompts are its callers"),
    "mcpcore.cli.authorizing": ("cli/test_login.py", "logging in is what it is for"),
    "mcpcore.chain": ("core/test_middleware.py", "middleware of servers and of clients is made by it"),
    "mcpcore.cli.question": ("cli/test_call.py", "it takes a terminal and a server that asks"),
    "mcpcore.cli.release": ("cli/test_main.py", "the version is shown there"),
    "mcpcore.cli.served": ("cli/test_run.py", "`run` is the first of its callers"),
    "mcpcore.cli.usage": ("cli/test_list.py", "wrong flags; each command has such a table"),
    "mcpcore.cli.visit": ("cli/test_call.py", "a call is a visit"),
    "mcpcore.downgrade": ("core/test_adaptation.py", "the rules of when to use what it offers are there"),
    "mcpcore.eras": ("core/test_negotiation.py", "`era_of` is the first thing negotiated"),
    "mcpcore.group.member": ("core/test_client_group.py", "a group is what has them"),
    "mcpcore.members": ("core/test_adaptation.py", "a table, and its only reader"),
    "mcpcore.serving": ("transports/test_serving.py", "it takes a transport to serve over"),
    "mcpcore_transports.http": ("test_exports.py", "it lends one name"),
    "mcpcore_transports.http.client": ("transports/test_http_transport.py", "`HttpTransport` is what it has"),
    "mcpcore_transports.http.exchanges": ("transports/test_http_sessions.py", "questions and cancellations"),
    "mcpcore_transports.http.handshake": ("transports/test_http_sessions.py", "the era that has sessions"),
    "mcpcore_transports.http.negotiation": (
        "transports/test_endpoint.py",
        "requests with such headers",
    ),
    "mcpcore_transports.http.options": ("transports/test_http_security.py", "who is let in; binds that nobody meant"),
    "mcpcore_transports.http.served": ("transports/test_endpoint.py", "an interface; what is served has it"),
    "mcpcore_transports.http.server": ("transports/test_http_faults.py", "the program that listens, and how it stops"),
    "mcpcore_transports.http.streams": ("transports/test_replay.py", "streams that are cut and come back for"),
    "mcpcore_transports.http.verifying": ("transports/test_http_stateless.py", "headers that mirror the body"),
    "mcpcore_transports.oauth": ("test_exports.py", "it lends names"),
    "mcpcore_transports.oauth.access": ("transports/test_login.py", "what every kind of login has"),
    "mcpcore_transports.oauth.assertions": ("transports/test_oauth_dpop.py", "signed by the same library"),
    "mcpcore_transports.oauth.authentication": ("transports/test_oauth_registration.py", "by what was registered"),
    "mcpcore_transports.oauth.bearer": ("transports/test_authorized.py", "the simplest authorization"),
    "mcpcore_transports.oauth.discovery": ("transports/test_login_faults.py", "metadata of all kinds"),
    "mcpcore_transports.oauth.errors": ("transports/test_login_faults.py", "each of them"),
    "mcpcore_transports.oauth.fetching": ("transports/test_login_faults.py", "it is what meets the faults"),
    "mcpcore_transports.oauth.records": ("transports/test_oauth_storage.py", "what is stored"),
    "mcpcore_transports.oauth.scopes": ("transports/test_oauth_authorization.py", "they are asked for there"),
    "mcpcore_transports.oauth.token_endpoint": ("transports/test_login_faults.py", "one that refuses"),
    "mcpcore_transports.protected": ("test_exports.py", "it lends names"),
    "mcpcore_transports.protected.fetching": ("transports/test_jwks.py", "what an issuer can answer"),
    "mcpcore_transports.protected.guard": ("transports/test_admission.py", "an interface, and functions as guards"),
    "mcpcore_transports.protected.resource": ("transports/test_admission.py", "each rule of it shows on the wire"),
    "mcpcore_transports.protected.verifier": ("transports/test_admission.py", "an interface and its exceptions"),
    "mcpcore_transports.stdio.environment": ("transports/test_stdio_client.py", "what a child gets shows in a child"),
    "mcpcore_transports.stdio.diagnostics": ("transports/test_stdio_client.py", "a child's last words"),
    "mcpcore_transports.stdio.pipe": ("transports/test_stdio_descriptors.py", "descriptors are what it reads"),
    "mcpcore_transports.stdio.processes": ("transports/test_stdio_client.py", "the client is what starts them"),
    "mcpcore_transports.stdio.redirection": ("transports/test_stdio_server.py", "needs a process of its own"),
    "mcpcore_transports.stdio.stderr": ("transports/test_stdio_server.py", "needs a host that does not read"),
    "mcpcore_transports.web.client_limits": ("transports/test_web_client.py", "numbers; what keeps them is tested"),
    "mcpcore_transports.web.exchange": ("transports/test_asgi.py", "an interface; each host's tests test it"),
    "mcpcore_transports.web.h11parser": ("transports/test_parser.py", "one table for every parser"),
    "mcpcore_transports.web.limits": ("transports/test_connection.py", "numbers; what keeps them is tested"),
    "mcpcore_transports.web.chunks": ("transports/test_parser.py", "bodies of the table"),
    "mcpcore_transports.web.head": ("transports/test_parser.py", "heads of the table"),
    "mcpcore_transports.web.httptoolsparser": ("transports/test_parser.py", "one table for every parser"),
    "mcpcore_transports.web.parsers": ("transports/test_parser.py", "which of them is chosen"),
    "mcpcore_transports.web.peer": ("transports/test_connection.py", "its only user"),
    "mcpcore_transports.web.request": ("transports/test_web_client.py", "a client is what makes them"),
    "mcpcore_transports.web.request_head": ("transports/test_web_client.py", "what a scripted server reads"),
    "mcpcore_transports.web.response": ("transports/test_web_client.py", "what a scripted server sent"),
    "mcpcore_transports.web.response_parser": ("transports/test_web_client.py", "whole, cut off, and no HTTP"),
    "mcpcore_transports.web.wire": ("transports/test_dialing.py", "what dialing returns"),
}
"""Modules whose tests are in another file, and why."""

WHOLE = {
    "mcpcore.testing": ("core/test_testing.py", "it is used as one, and tests itself against broken channels"),
    "mcpcore.types": ("core/test_types.py", "every type has the same tests"),
}
"""Packages whose modules are tested in one file, and why."""

BARE = frozenset(name for name, path in MODULES.items() if path.name == "__init__.py" and len(tree_of(name).body) <= 2)
"""Packages that hold nothing but a description and an empty `__all__`."""

UNTESTED = {
    "mcpcore_transports.stdio.threads": "runs on Windows only; the checkers read it for that platform",
}


def _expected(module: str) -> list[str]:
    """Files that may hold the tests of a module, the preferred one first."""
    if module in TOGETHER:
        return [TOGETHER[module][0]]
    for package, (path, _) in WHOLE.items():
        if f"{module}.".startswith(f"{package}."):
            return [path]
    folder = next(where for package, where in FOLDERS.items() if f"{module}.".startswith(f"{package}."))
    package, _, leaf = module.rpartition(".")
    return [f"{folder}/test_{leaf}.py", f"{folder}/test_{package.rpartition('.')[2]}_{leaf}.py"]


@pytest.mark.parametrize("module", [name for name in MODULES if name not in BARE and name not in UNTESTED])
def test_every_module_has_tests(module: str) -> None:
    expected = _expected(module)
    assert [name for name in expected if (TESTS / name).is_file()], f"no {' or '.join(expected)} for {module}"


def test_the_exceptions_are_needed() -> None:
    assert [name for name in (*TOGETHER, *WHOLE, *UNTESTED) if name not in MODULES] == []
