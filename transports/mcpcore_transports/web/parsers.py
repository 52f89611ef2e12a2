"""Which library takes requests apart: the listener's choice, or that of whoever runs it."""

from importlib.util import find_spec

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web.h11parser import H11Parser
from mcpcore_transports.web.parser import Parser

__all__ = ("PARSERS", "choose_parser")

PARSERS = ("auto", "h11", "httptools")
"""What can be asked for: "auto" is httptools where it is installed (`mcpcore[fast]`), else h11. They read the same."""


def choose_parser(name: str = "auto") -> type[Parser]:
    """The parser of this name. Raises `LocalProtocolError` for one that there is not, or that is not installed."""
    if name not in PARSERS:
        raise LocalProtocolError(f"http_parser is {', '.join(PARSERS[:-1])} or {PARSERS[-1]}, not {name!r}")
    if name == "h11" or (name == "auto" and find_spec("httptools") is None):
        return H11Parser
    try:
        from mcpcore_transports.web.httptoolsparser import HttptoolsParser
    except ImportError as missing:
        raise LocalProtocolError(
            f"the parser httptools cannot be used ({missing}): install mcpcore[fast], or use h11"
        ) from missing
    return HttptoolsParser
