"""Finding out which authorization server guards an MCP server (MCP, authorization server discovery)."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec

from mcpcore_transports.framing.wellknown import (
    default_endpoints,
    origin_of,
    resource_metadata_urls,
    server_metadata_urls,
)
from mcpcore_transports.oauth.errors import DiscoveryFailed, UntrustedMetadata, shown
from mcpcore_transports.oauth.fetching import Fetched, Fetcher
from mcpcore_transports.oauth.metadata import ResourceMetadata, ServerMetadata, canonical_resource

__all__ = ("MAX_SERVERS", "Discovered", "discover", "discover_issuer")

MAX_SERVERS = 4
"""Authorization servers of one MCP server that are tried, when the ones before do not answer."""

_OLD = (("mcp-protocol-version", "2025-03-26"),)

T = TypeVar("T", ResourceMetadata, ServerMetadata)


class Discovered(NamedTuple):
    """What has been found out, all of it checked."""

    server: ServerMetadata
    resource: str
    """What tokens are for, as the server published it, byte for byte."""

    scopes: Sequence[str] | None
    """Those that the resource's metadata lists."""

    needs_dpop: bool


async def discover(url: str, named: str, fetcher: Fetcher, *, known: str | None = None) -> Discovered:
    """Find the authorization server of the MCP server at `url`.

    `named` is the metadata URL of its challenge, "" for none; `known` the issuer that would be preferred. Looked at in
    this order: that URL, the well-known ones of the path and of the root, and, where there is nothing at all, the
    server itself as 2025-03-26 had it. Raises `DiscoveryFailed`, `UntrustedMetadata`.
    """
    seen: list[str] = []
    places: list[str] = [named] if named else []
    for place in dict.fromkeys(places + list(resource_metadata_urls(url))):
        what = "the server's metadata URL" if place == named else place
        fetcher.check_url(place, what)
        answer = await fetcher.get(place, what, DiscoveryFailed)
        resource = _read(answer, ResourceMetadata, place, seen)
        if resource is not None:
            resource.check(url)
            server = await _first(resource.authorization_servers or (), fetcher, known)
            return Discovered(
                server, resource.resource, resource.scopes_supported, bool(resource.dpop_bound_access_tokens_required)
            )
    if not _all_absent(seen):
        raise DiscoveryFailed(
            f"the server wants a login and does not say where: {'; '.join(seen)}. Tell its operator (RFC 9728), or "
            "give a token"
        )
    return Discovered(await _as_2025_03_26(url, fetcher), canonical_resource(url), None, False)


async def discover_issuer(issuer: str, fetcher: Fetcher) -> ServerMetadata:
    """The metadata of an authorization server, checked to be its own. Raises `DiscoveryFailed`, `UntrustedMetadata`."""
    fetcher.check_url(issuer, f"the authorization server {shown(issuer)!r}")
    seen: list[str] = []
    for place in server_metadata_urls(issuer):
        found = _read(await fetcher.get(place, place, DiscoveryFailed), ServerMetadata, place, seen)
        if found is not None:
            found.check_issuer(issuer)
            return _checked(found, fetcher)
    raise DiscoveryFailed(
        f"the authorization server {shown(issuer)!r} has no metadata: {'; '.join(seen)}. Tell its operator (RFC 8414)"
    )


async def _first(issuers: Sequence[str], fetcher: Fetcher, known: str | None) -> ServerMetadata:
    """The known one if it is listed, else the first that answers. One that lies is no reason to ask the next."""
    ordered = [known] if known is not None and known in issuers else list(issuers)[:MAX_SERVERS]
    failure = None
    for issuer in ordered:
        try:
            return await discover_issuer(issuer, fetcher)
        except UntrustedMetadata:
            raise
        except DiscoveryFailed as failed:
            failure = failure or failed
    assert failure is not None
    raise failure


async def _as_2025_03_26(url: str, fetcher: Fetcher) -> ServerMetadata:
    """The MCP server's origin as its own authorization server, with metadata or with the paths of that revision."""
    seen: list[str] = []
    origin = origin_of(url)
    for place in server_metadata_urls(origin):
        found = _read(await fetcher.get(place, place, DiscoveryFailed, _OLD), ServerMetadata, place, seen)
        if found is not None:
            fetcher.check_url(found.issuer, "the issuer of the server's metadata")
            if origin_of(found.issuer).lower() != origin.lower():
                found.check_issuer(origin)
            return _checked(msgspec.structs.replace(found, guessed=True), fetcher)
    if not _all_absent(seen):
        raise DiscoveryFailed(
            f"the server wants a login and does not say where: {'; '.join(seen)}. Tell its operator, or give a token"
        )
    return msgspec.convert({**default_endpoints(url), "guessed": True}, ServerMetadata)


def _read(answer: Fetched, kind: type[T], place: str, seen: list[str]) -> T | None:
    """The document in an answer; None, and a note in `seen`, when there is none. Pages of HTML are none: some servers
    answer any path with one. A server that fails is an error: what it would have said must not be guessed."""
    if answer.status >= 500 or answer.status == 429:
        raise DiscoveryFailed(f"{place} answered with HTTP {answer.status}; try again later")
    if answer.status != 200:
        seen.append(f"{place} answered HTTP {answer.status}")
        return None
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.ValidationError as error:
        raise DiscoveryFailed(f"{place} has metadata that breaks its rules: {error}; tell its operator") from error
    except (msgspec.DecodeError, RecursionError):
        seen.append(f"{place} answered with {shown(answer.kind) or 'something'} that is no JSON")
        return None


def _all_absent(seen: Sequence[str]) -> bool:
    return all("answered HTTP 4" in each for each in seen)


def _checked(server: ServerMetadata, fetcher: Fetcher) -> ServerMetadata:
    """Every endpoint may be used. Raises `UntrustedMetadata`."""
    for name in ("authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"):
        if url := getattr(server, name):
            fetcher.check_url(url, f"the {name} of {shown(server.issuer)!r}")
    return server
