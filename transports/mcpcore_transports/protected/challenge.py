"""`WWW-Authenticate` as a protected resource sends it (RFC 9110, 11.6.1; RFC 6750, 3; RFC 9728, 5.1)."""

from collections.abc import Iterable

__all__ = ("challenge",)


def challenge(
    scheme: str = "Bearer",
    *,
    error: str | None = None,
    description: str | None = None,
    scopes: Iterable[str] = (),
    resource_metadata: str | None = None,
    algorithms: Iterable[str] = (),
) -> str:
    """One challenge. `scopes` are all that the request needs, in alphabetical order, so that equal refusals are equal;
    `algorithms` are those of DPoP proofs (RFC 9449, 5.1)."""
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


def _quoted(text: str) -> str:
    """A quoted string; what one cannot carry becomes a question mark."""
    safe = "".join(character if " " <= character <= "~" else "?" for character in text)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
