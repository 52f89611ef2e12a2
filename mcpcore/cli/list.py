"""`mcpcore list`: what a server offers."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from mcpcore.cli.progress import Reports
from mcpcore.cli.render import pretty_json, prompt_lines, resource_lines, template_lines, tool_lines, visible
from mcpcore.cli.target import target_of
from mcpcore.cli.usage import one_of, seconds, setting
from mcpcore.cli.visit import era_choice, visit
from mcpcore.client import CALL_SECONDS, Client
from mcpcore.serving import BACKENDS
from mcpcore.types import Prompt, Resource, ResourceTemplate, Tool

__all__ = ("list_offers",)


def list_offers(arguments: Namespace) -> int:
    """Print what the server offers, as text or as one JSON object. Raises `WrongUsage`."""
    timeout = setting(arguments.timeout, "--timeout", seconds)
    era = setting(arguments.era, "--era", era_choice)
    backend = setting(arguments.backend, "--backend", one_of(*BACKENDS), variable="MCPCORE_BACKEND")
    out = sys.stdout

    async def work(client: Client) -> int:
        offers = await _Offers.of(client)
        print(offers.json() if arguments.json else offers.text(), file=out)
        return 0

    return visit(
        target_of(arguments.target, arguments.config, headers=arguments.header, token=arguments.token),
        work,
        Reports(),
        backend=backend,
        debug=arguments.debug,
        era=era or "auto",
        timeout=CALL_SECONDS if timeout is None else timeout,
    )


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

    def json(self) -> str:
        """One object whose members have the names and shapes of the wire."""
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
        return pretty_json({name: value for name, value in members.items() if value is not None})

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
