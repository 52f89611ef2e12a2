"""An HTTP status that is no answer, as an exception."""

from typing import Self

from mcpcore.errors import ConnectFailed

__all__ = ("HttpError",)

_SHOWN_CHARACTERS = 200
"""Characters of a refusal's first line that are shown: enough for a sentence, too little for a page of HTML."""

_ADVICE = {
    401: "the server wants to know who is asking: give auth= or an Authorization header",
    403: "this caller is not allowed to do that",
    404: "there is no MCP endpoint at this URL: check its path",
    405: "there is no MCP endpoint at this URL: check its path",
    421: "the server does not answer to this host name: see its --allow-host or --public-url",
    429: "too many requests: come back later",
}


class HttpError(ConnectFailed):
    """A server, or something in front of it, refused a request with a status and without a JSON-RPC error.

    Nothing was done. `status` is the HTTP status, `line` the first line of the body.
    """

    def __init__(self, status: int, line: str) -> None:
        advice = _ADVICE.get(status)
        super().__init__(f"HTTP {status}{f': {line}' if line else ''}{f' ({advice})' if advice else ''}")
        self.status = status
        self.line = line

    @classmethod
    def of(cls, status: int, body: bytes) -> Self:
        """The error for a response."""
        line = body.decode(errors="replace").strip().partition("\n")[0].strip()
        printable = "".join(c if c.isprintable() else " " for c in line)
        return cls(status, printable[:_SHOWN_CHARACTERS])
