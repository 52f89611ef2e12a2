"""`mcpcore call`: call one tool, showing its progress."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from mcpcore.cli.arguments import arguments_of
from mcpcore.cli.authorizing import with_login
from mcpcore.cli.progress import Reports
from mcpcore.cli.question import Questions
from mcpcore.cli.render import one_line, pretty_json, result_text, visible
from mcpcore.cli.target import target_of
from mcpcore.cli.usage import EXIT_FAILED, one_of, seconds, setting
from mcpcore.cli.visit import era_choice, visit
from mcpcore.client import CALL_SECONDS, Client
from mcpcore.errors import PeerError
from mcpcore.serving import BACKENDS
from mcpcore.types import CallToolResult

__all__ = ("call",)


def call(arguments: Namespace) -> int:
    """Call the tool; its result goes to stdout, everything else to stderr. Raises `WrongUsage`."""
    timeout = setting(arguments.timeout, "--timeout", seconds)
    era = setting(arguments.era, "--era", era_choice)
    backend = setting(arguments.backend, "--backend", one_of(*BACKENDS), variable="MCPCORE_BACKEND")
    words: Sequence[str] = arguments.words
    out = sys.stdout
    arguments_of(words, arguments.args, {})  # what is wrong whatever the schema says, before a server is started

    def show(result: CallToolResult) -> int:
        if arguments.json:
            print(pretty_json(result), file=out)
        elif result.is_error:
            print(visible(result_text(result)) or "the tool failed and did not say why", file=sys.stderr)
        elif text := result_text(result):
            print(visible(text) if out.isatty() else text, file=out)
        return EXIT_FAILED if result.is_error else 0

    reports = Reports()
    questions = Questions(reports)

    async def work(client: Client) -> int:
        tools = await client.list_tools() if client.capabilities.tools is not None else []
        schema = next((tool.input_schema for tool in tools if tool.name == arguments.tool), None)
        given = arguments_of(words, arguments.args, schema or {})
        try:
            result = await client.call_tool(arguments.tool, given, on_progress=reports.progress)
        except PeerError as refused:
            if schema is not None:
                raise
            reports.note(f"mcpcore: {one_line(refused)}")
            reports.note(f"mcpcore: the server's tools: {', '.join(tool.name for tool in tools) or 'none'}")
            return EXIT_FAILED
        reports.finish()
        return show(result)

    return visit(
        with_login(
            target_of(arguments.target, arguments.config, headers=arguments.header, token=arguments.token),
            arguments.client_id,
        ),
        work,
        reports,
        backend=backend,
        debug=arguments.debug,
        era=era or "auto",
        timeout=CALL_SECONDS if timeout is None else timeout,
        on_elicit=questions.form,
        on_elicit_url=questions.url,
    )
