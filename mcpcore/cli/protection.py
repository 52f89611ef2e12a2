"""The flags of `mcpcore run` that say who may use a server over HTTP, as `auth=`."""

from importlib import import_module
from typing import Any

from mcpcore.cli.usage import WrongUsage
from mcpcore.errors import LocalProtocolError

__all__ = ("with_protection",)

_NAMES = ("auth_issuer", "auth_audience", "auth_jwks", "auth_scope", "api_key_file")


def with_protection(options: dict[str, Any]) -> dict[str, Any]:
    """The options of serving with `auth` in place of the flags about it, if there are any. Raises `WrongUsage`."""
    said = {name: options[name] for name in _NAMES if name in options}
    found = {name: value for name, value in options.items() if name not in said}
    issuer, keys = said.get("auth_issuer"), said.get("api_key_file")
    if not said:
        return found
    if issuer is None and keys is None:
        raise WrongUsage("who may come in? give --auth-issuer URL, or --api-key-file FILE")
    for name in ("auth_audience", "auth_jwks"):
        if name in said and issuer is None:
            raise WrongUsage(f"--{name.replace('_', '-')} is about tokens of an --auth-issuer")
    protected = import_module("mcpcore_transports.protected")
    audience = said.get("auth_audience")
    resource = None
    if audience is not None and "public_url" not in found and audience.startswith(("https://", "http://")):
        resource = audience
    try:
        verifiers = []
        if issuer is not None:
            verifiers.append(protected.JwtVerifier(issuer, jwks_uri=said.get("auth_jwks"), audience=audience))
        if keys is not None:
            verifiers.append(protected.ApiKeys.from_file(keys))
        found["auth"] = protected.Protected(
            *verifiers,
            authorization_servers=() if issuer is None else (issuer,),
            resource=resource,
            scopes=said.get("auth_scope", ()),
        )
    except LocalProtocolError as error:
        raise WrongUsage(str(error)) from None
    return found
