"""The program `mcpcore`: reads the command line and hands over to one command, which is imported only then."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from mcpcore.cli.flags import RUN_FLAGS, SERVING_FLAGS
from mcpcore.cli.usage import EXIT_FAILED, EXIT_USAGE

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ("main",)

_TARGET = """\
TARGET is one of
  URL                      a server at http://… or https://…, of whichever generation
  FILE.py[:name]           a server in a Python file, run in this process
  pkg.mod[:name]           the same in a module
  'stdio:COMMAND ARGS…'    a command that serves on stdin and stdout, words quoted as in a shell
  NAME                     with --config FILE: an entry of its "mcpServers"
"""

_RUN = """\
Every flag has an environment variable, e.g. MCPCORE_TRANSPORT or MCPCORE_ALLOW_HOST=a.example,b.example; that of
--allow-origin is MCPCORE_CORS_ORIGINS. The flag counts before the variable. An address that others can reach needs
--allow-host or --public-url.

With --workers a connection goes to any of the processes. Sessions (up to 2025-11-25, and sse) live in one of them: use
--era modern, or a proxy that sends a client to the same process, which is then better served by several programs.
"""

_LOGIN = """\
Tokens are kept in files that only you can read, below XDG_STATE_HOME (~/.local/state). Commands that meet a server that
wants a login log in by themselves, once. MCPCORE_CLIENT_SECRET is the secret of the client that --client-id names.
"""

_EXITS = """\
Exit codes: 0 done, 1 the server or the tool failed, 2 wrong usage, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `argv` are the words after the program's name.

    Raises SystemExit for --help, --version and a command line that argparse refuses, as argparse does.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this: nobody wants to hear of it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an odd locale must not lose a result
    arguments = _read(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads our output has gone, e.g. `| head`. Nothing may be flushed there again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    sys.stderr.flush()
    return code


def _run(arguments: "Namespace") -> int:
    from mcpcore.cli.ending import exit_code

    command: Any
    if arguments.command == "run":
        from mcpcore.cli.run import run as command
    elif arguments.command == "bridge":
        from mcpcore.cli.bridge import bridge as command
    elif arguments.command == "login":
        from mcpcore.cli.login import login as command
    elif arguments.command == "logout":
        from mcpcore.cli.login import logout as command
    elif arguments.command == "list":
        from mcpcore.cli.list import list_offers as command
    else:
        from mcpcore.cli.call import call as command
    return exit_code(arguments.command, lambda: command(arguments))


def _read(argv: Sequence[str]) -> "Namespace":
    """The command line as argparse has it; `words` are the `key=value` of a call, wherever they stand."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        raise SystemExit(EXIT_USAGE)
    words = [word for word in rest if word != "--"]
    if unknown := [word for word in words if word.startswith("-") or arguments.command != "call"]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # argparse takes positional words in one run only, and options may stand between these.
    first = getattr(arguments, "first_word", None)
    arguments.words = words if first is None else [first, *words]
    return arguments


def _parser() -> "ArgumentParser":
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    parser = ArgumentParser(
        prog="mcpcore",
        description="Run, inspect and call Model Context Protocol servers, on trio or asyncio.",
        epilog=_EXITS,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_version_action(), nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, usage: str, about: str, epilog: str) -> ArgumentParser:
        added: ArgumentParser = commands.add_parser(
            name,
            usage=f"mcpcore {name} {usage}",
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=epilog,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        return added

    run = command("run", "SOURCE [options]", "serve the Server of a Python file or module", _RUN + "\n" + _EXITS)
    run.add_argument("source", metavar="SOURCE", help="FILE.py[:name] or pkg.mod[:name]; the name when it has several")
    bridge = command(
        "bridge",
        "TARGET [options]",
        "serve any server over another transport",
        _TARGET + "\n" + _RUN + "\n" + _EXITS,
    )
    bridge.add_argument("target", metavar="TARGET", help="where the server is; see below")
    bridge.add_argument("--timeout", metavar="SECONDS", help="how long the server behind may take for a request (3600)")
    bridge.add_argument(
        "--max-upstreams", metavar="NUMBER", help="connections to the server behind (10000; 64 for a command)"
    )
    for server in (run, bridge):
        for flag in RUN_FLAGS:
            server.add_argument(f"--{flag.name}", metavar=flag.metavar, help=flag.about)
        web = server.add_argument_group("http and sse")
        for flag in SERVING_FLAGS:
            if flag.metavar is None:
                web.add_argument(f"--{flag.name}", action="store_true", help=flag.about)
            else:
                action = "append" if flag.many else "store"
                web.add_argument(f"--{flag.name}", metavar=flag.metavar, action=action, help=flag.about)

    lists = command("list", "[TARGET] [options]", "show what a server offers", _TARGET + "\n" + _EXITS)
    call = command(
        "call", "TARGET TOOL [key=value …] [options]", "call a tool and show its progress", _TARGET + "\n" + _EXITS
    )
    lists.add_argument("target", metavar="TARGET", nargs="?", help="where the server is; without it, all of --config")
    call.add_argument("target", metavar="TARGET", help="where the server is; see below")
    call.add_argument("tool", metavar="TOOL", help="the tool's name")
    call.add_argument(
        "first_word",
        metavar="key=value",
        nargs="?",
        help="an argument: JSON where the tool wants no string, else text",
    )
    call.add_argument("--args", metavar="JSON", help="the arguments as one JSON object")
    for client in (lists, call):
        client.add_argument("--json", action="store_true", help="print JSON in the shape of the wire")
        client.add_argument("--timeout", metavar="SECONDS", help="how long any request may take (120)")
        client.add_argument("--era", metavar="NAME", help="auto (the default), modern, legacy, or a revision")
        client.add_argument("--backend", metavar="NAME", help="trio or asyncio, or MCPCORE_BACKEND")
    for client in (lists, call, bridge):
        client.add_argument("--header", metavar="NAME:VALUE", action="append", help="sent to a URL; again for more")
        client.add_argument("--token", metavar="TOKEN", help="a bearer token for a URL, or MCPCORE_TOKEN")
        client.add_argument("--client-id", metavar="ID", help="of a client that was registered for logins by hand")
        client.add_argument("--config", metavar="FILE", help="a JSON file with mcpServers; TARGET is a name in it")
    login = command("login", "URL [options]", "log in to a server, for later calls", _LOGIN + "\n" + _EXITS)
    logout = command("logout", "URL [options]", "forget the login of a server", _LOGIN + "\n" + _EXITS)
    for each in (login, logout):
        each.add_argument("target", metavar="URL", help="where the server is, or a name with --config")
        each.add_argument("--backend", metavar="NAME", help="trio or asyncio, or MCPCORE_BACKEND")
        each.add_argument("--config", metavar="FILE", help="a JSON file with mcpServers; URL is a name in it")
        each.add_argument("--debug", action="store_true", help="show the traceback of an error")
    login.add_argument("--client-id", metavar="ID", help="of a client that was registered by hand")
    login.add_argument("--scope", metavar="SCOPE", action="append", help="asked for besides; again for more")
    for each in (run, lists, call, bridge):
        each.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _version_action() -> Any:
    from argparse import Action

    class Version(Action):
        """Looks the version up only when it is asked for: that takes longer than --help."""

        def __call__(self, parser: "ArgumentParser", *_: object) -> None:
            from mcpcore.cli.release import version

            print(f"mcpcore {version()}")
            parser.exit()

    return Version
