"""`mcpcore list`: what a server offers."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import anyio

from mcpcore.cli.authorizing import with_login
from mcpcore.cli.progress import Reports
from mcpcore.cli.render import one_line, pretty_json, prompt_lines, resource_lines, template_lines, tool_lines, visible
from mcpcore.cli.target import Target, target_of
from mcpcore.cli.usage import EXIT_FAILED, WrongUsage, one_of, seconds, setting
from mcpcore.cli.visit import era_choice, visit
from mcpcore.client import CALL_SECONDS, Client
from mcpcore.configuration import raw_entries
from mcpcore.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError, PeerError, RemoteProtocolError
from mcpcore.group.client_group import ClientGroup
from mcpcore.groups import sole_error
from mcpcore.serving import BACKENDS
from mcpcore.types import Prompt, Resource, ResourceTemplate, Tool

__all__ = ("list_offers",)


def list_offers(arguments: Namespace) -> int:
    """Print what the server offers, or without a TARGET each server of the configuration, as text or as one JSON
    object. Raises `WrongUsage`."""
    timeout = setting(arguments.timeout, "--timeout", seconds)
    era = setting(arguments.era, "--era", era_choice)
    backend = setting(arguments.backend, "--backend", one_of(*BACKENDS), variable="MCPCORE_BACKEND")
    out = sys.stdout

    async def work(client: Client) -> int:
        offers = await _Offers.of(client)
        print(pretty_json(offers.members()) if arguments.json else offers.text(), file=out)
        return 0

    async def work_on_all(group: ClientGroup) -> int:
        found, errors = await _offers_of_all(group)
        if arguments.json:
            members = {name: offers.members() for name, offers in found.items()}
            members |= {name: {"error": one_line(error)} for name, error in errors.items()}
            print(pretty_json({"servers": members}), file=out)
        else:
            print("\n\n".join([f"== {visible(name)}\n{offers.text()}" for name, offers in found.items()]), file=out)
            for name, error in errors.items():
                print(f"mcpcore: {visible(name)}: {one_line(error)}", file=sys.stderr)
        return EXIT_FAILED if errors else 0

    show = partial(
        visit,
        reports=Reports(),
        backend=backend,
        debug=arguments.debug,
        era=era or "auto",
        timeout=CALL_SECONDS if timeout is None else timeout,
    )
    if arguments.target is not None:
        target = target_of(arguments.target, arguments.config, headers=arguments.header, token=arguments.token)
        return show(with_login(target, arguments.client_id), work)
    if arguments.config is None:
        raise WrongUsage("say which server: a TARGET, or --config FILE for all that it has")
    if arguments.header or arguments.token or arguments.client_id:
        raise WrongUsage("--header, --token and --client-id are for one server: give its name")
    return show(Target(_servers_in(arguments.config)), work_on_all, make=ClientGroup)


def _servers_in(path: str) -> dict[str, Any]:
    try:
        return raw_entries(path)
    except OSError as error:
        raise WrongUsage(f"--config {path}: {error.strerror}") from None
    except LocalProtocolError as error:
        raise WrongUsage(f"--config {error}") from None


async def _offers_of_all(group: ClientGroup) -> tuple[dict[str, "_Offers"], dict[str, Exception]]:
    """What each server offers, in the configuration's order, and what is wrong with the others."""
    found: dict[str, _Offers] = {}
    errors, clients = group.errors, group.clients

    async def ask(name: str, client: Client) -> None:
        try:
            found[name] = await _Offers.of(client)
        except (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError) as error:
            errors[name] = error

    with sole_error():
        async with anyio.create_task_group() as tasks:
            for name, client in clients.items():
                tasks.start_soon(ask, name, client)
    return {name: found[name] for name in clients if name in found}, errors


class _Offers:
    """All that one server lists."""

    def __init__(self, client: Client) -> None:
        self.server = client.server_info
        self.revision = client.revision
        self.capabilities = client.capabilities
        self.instructions = client.instructions
        self.tools: list[Tool] = []
        self.resources: list[Resource] = []
        self.templates: list[ResourceTemplate] = []
        self.prompts: list[Prompt] = []

    @classmethod
    async def of(cls, client: Client) -> "_Offers":
        """Ask for each list that the server says it has."""
        self = cls(client)
        if self.capabilities.tools is not None:
            self.tools = await client.list_tools()
        if self.capabilities.resources is not None:
            self.resources = await client.list_resources()
            self.templates = await client.list_templates()
        if self.capabilities.prompts is not None:
            self.prompts = await client.list_prompts()
        return self

    def members(self) -> dict[str, Any]:
        """Members that have the names and shapes of the wire."""
        members: dict[str, Any] = {
            "serverInfo": self.server,
            "protocolVersion": self.revision,
            "capabilities": self.capabilities,
            "instructions": self.instructions,
            "tools": self.tools,
            "resources": self.resources,
            "resourceTemplates": self.templates,
            "prompts": self.prompts,
        }
        return {name: value for name, value in members.items() if value is not None}

    def text(self) -> str:
        name = f"{self.server.name} {self.server.version}" if self.server is not None else "a server without a name"
        lines = [f"{name} (MCP {self.revision})"]
        if self.instructions:
            lines += self.instructions.splitlines()
        lines += _section("Tools (* marks required arguments)", self.tools, tool_lines)
        lines += _section("Resources", self.resources, resource_lines)
        lines += _section("Resource templates", self.templates, template_lines)
        lines += _section("Prompts", self.prompts, prompt_lines)
        if len(lines) == 1:
            lines.append("It offers no tools, resources or prompts.")
        return visible("\n".join(lines))


def _section(heading: str, offers: Iterable[Any], lines_of: Callable[[Any], list[str]]) -> list[str]:
    lines = [f"  {line}" if line else "" for offer in offers for line in lines_of(offer)]
    return ["", heading, *lines] if lines else []
