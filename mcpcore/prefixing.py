"""Names of several servers side by side: `server__tool`, and what is done where that is no name. Pure.

The rule looks at one server and one name only, so that what a tool is called never depends on which other servers
there are, or which of them came first.
"""

import re
from hashlib import sha256

__all__ = ("MAX_NAME", "SEPARATOR", "prefixed")

MAX_NAME = 64
"""Characters of a name that language models' APIs take."""

SEPARATOR = "__"

_DIGITS = 12
_ALLOWED = re.compile(r"[A-Za-z0-9_-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")


def prefixed(server: str, name: str) -> str:
    """The name of something that a server calls `name`: letters, digits, `_` and `-`, at most `MAX_NAME` of them.

    It is `server__name` wherever that is allowed and can be taken apart again in one way only. Otherwise what is not
    allowed becomes `_`, and the end a digest of both, so that two that look alike stay two.
    """
    plain = f"{server}{SEPARATOR}{name}"
    splits = SEPARATOR not in server and not server.endswith("_")
    if splits and len(plain) <= MAX_NAME and _ALLOWED.fullmatch(plain):
        return plain
    digest = sha256(f"{server}\0{name}".encode()).hexdigest()[:_DIGITS]
    return f"{_OTHER.sub('_', plain)[: MAX_NAME - _DIGITS - 1]}_{digest}"
