"""What the headers of a POST say of its body and of its answer. Clients repeat themselves, so each is read once."""

from functools import lru_cache

from mcpcore.revisions import Era, Revision

__all__ = ("KNOWN_VALUES", "accepted", "is_json", "is_modern")

KNOWN_VALUES = 16
"""Values of each header that are remembered: what the clients of one server send, and a megabyte of what could be sent
to fill it."""


@lru_cache(KNOWN_VALUES)
def is_json(content_type: str | None) -> bool:
    """Whether a Content-Type says that the body is JSON."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() == "application/json"


@lru_cache(KNOWN_VALUES)
def is_modern(version: str | None) -> bool:
    """Whether an MCP-Protocol-Version names a revision without sessions."""
    revision = None if version is None else Revision.parse(version.strip())
    return revision is not None and revision.era is Era.MODERN


@lru_cache(KNOWN_VALUES)
def accepted(accept: str | None) -> frozenset[str]:
    """What of "json" and "event-stream" an Accept header allows; absent, or with wildcards, both (RFC 9110, 12.5.1)."""
    if accept is None:
        return frozenset(("json", "event-stream"))
    found = set()
    for part in accept.lower().split(","):
        kind, *parameters = ("".join(piece.split()) for piece in part.split(";"))
        if any(parameter.startswith("q=") and not parameter[2:].strip("0.") for parameter in parameters):
            continue  # a weight of 0 means "not this"
        if kind in ("application/json", "application/*", "*/*"):
            found.add("json")
        if kind in ("text/event-stream", "text/*", "*/*"):
            found.add("event-stream")
    return frozenset(found)
