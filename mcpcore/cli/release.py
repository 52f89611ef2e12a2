"""What this release is and what it does not have yet."""

from typing import NoReturn

from mcpcore.cli.usage import WrongUsage

__all__ = ("NOT_YET", "refuse_transport", "refuse_url", "version")

NOT_YET = ("http", "sse")
"""Transports that the command line has words for and this release does not."""


def version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("mcpcore")
    except PackageNotFoundError:
        return "0+uninstalled"  # a checkout on the path


def refuse_transport(name: str) -> NoReturn:
    raise WrongUsage(f"the transport {name!r} is not in this release; it has stdio")


def refuse_url(url: str) -> NoReturn:
    raise WrongUsage(
        f"{url}: servers behind a URL are not in this release; it reaches 'stdio:COMMAND ARGS…', FILE.py, "
        "and names in an mcpServers JSON that start a command"
    )
