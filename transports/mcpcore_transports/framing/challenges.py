"""`WWW-Authenticate`, written and read: what a server wants from who asks (RFC 9110, 11.6.1; RFC 6750, 3; RFC 9728,
5.1)."""

import re
from collections.abc import Iterable, Mapping

import msgspec

__all__ = ("CHALLENGE_BYTES", "Challenge", "challenge", "parse_challenges")

CHALLENGE_BYTES = 16 * 1024
"""Characters of all challenges together that are read. They name a URL and a few scopes."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART = re.compile(
    rf"[\s,]*(?:(?P<name>{_TOKEN})\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>{_TOKEN}))(?=[\s,]|$)"
    rf"|(?P<scheme>{_TOKEN})(?:[ ]+(?P<blob>[A-Za-z0-9._~+/-]+=*)(?=\s*(?:,|$)))?(?=[\s,]|$))",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, 3.3


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """One challenge: its scheme in lower case, and its parameters by lower-case name; the first of a name counts."""

    scheme: str
    parameters: Mapping[str, str] = {}

    @property
    def error(self) -> str:
        return self.parameters.get("error", "")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes it asks for; anything that is no scope is left out."""
        return tuple(dict.fromkeys(_SCOPE.findall(self.parameters.get("scope", ""))))

    @property
    def resource_metadata(self) -> str:
        """Where the server describes itself, as it says; "" if it does not."""
        return self.parameters.get("resource_metadata", "")


def challenge(
    scheme: str = "Bearer",
    *,
    error: str | None = None,
    description: str | None = None,
    scopes: Iterable[str] = (),
    resource_metadata: str | None = None,
    algorithms: Iterable[str] = (),
) -> str:
    """One challenge to send. `scopes` are all that the request needs, in alphabetical order, so that equal refusals are
    equal; `algorithms` are those of DPoP proofs (RFC 9449, 5.1)."""
    parameters = {
        "realm": "mcp" if resource_metadata is None else None,
        "error": error,
        "error_description": description,
        "scope": " ".join(sorted(scopes)) or None,
        "resource_metadata": resource_metadata,
        "algs": " ".join(algorithms) or None,
    }
    said = ", ".join(f"{name}={_quoted(value)}" for name, value in parameters.items() if value is not None)
    return f"{scheme} {said}"


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all header lines, in order. Reading stops quietly at what is none, keeping what came before:
    what a server wants is then found out by its metadata."""
    found: list[tuple[str, dict[str, str]]] = []
    left = CHALLENGE_BYTES
    for value in values:
        value = value[:left]
        left -= len(value)
        position = 0
        while (part := _PART.match(value, position)) is not None and part.end() > position:
            position = part.end()
            if part["scheme"] is not None:
                found.append((part["scheme"].lower(), {}))
            elif not found:
                break
            else:
                quoted = part["quoted"]
                text = part["plain"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
                found[-1][1].setdefault(part["name"].lower(), text)
    return tuple(Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in found)


def _quoted(text: str) -> str:
    """A quoted string; what one cannot carry becomes a question mark."""
    safe = "".join(character if " " <= character <= "~" else "?" for character in text)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
