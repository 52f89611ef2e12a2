"""Where requests of a login may go: no name or redirect of a public server may lead inside (MCP, SSRF).

A server says where its authorization server is, so a client that follows can be sent to whatever its machine reaches.
How far in it may be sent depends on where the server itself is.
"""

import ipaddress
from collections.abc import Iterable
from enum import IntEnum
from typing import TypeAlias
from urllib.parse import urlsplit

from mcpcore_transports.oauth.errors import UntrustedMetadata, shown

__all__ = ("Reach", "Zone", "is_loopback_name", "outermost", "zone_of")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Zone(IntEnum):
    """How far inside an address is."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    FORBIDDEN = 3
    """Link-local (where clouds hand out credentials), multicast, unspecified, reserved."""


def zone_of(address: str) -> Zone:
    """The zone of an IP address, by what it stands for where IPv6 carries IPv4. What is no address is forbidden."""
    try:
        parsed: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return Zone.FORBIDDEN
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is None and parsed.teredo is not None:
            inner = parsed.teredo[1]
        if inner is not None:
            parsed = inner
    if parsed.is_loopback:
        return Zone.LOOPBACK
    if parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified or parsed.is_reserved:
        return Zone.FORBIDDEN
    return Zone.PUBLIC if parsed.is_global else Zone.PRIVATE


def is_loopback_name(host: str) -> bool:
    """Whether a host as a URL has it means this machine by definition (RFC 6761, 6.3)."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return zone_of(name) is Zone.LOOPBACK


class Reach:
    """How far inside requests may go: `zone` and everything further out, and the `hosts` that were allowed by name.

    A host in `hosts` may be anywhere, and be spoken to without TLS.
    """

    def __init__(self, zone: Zone = Zone.PUBLIC, hosts: Iterable[str] = ()) -> None:
        self.zone = zone
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)

    def __repr__(self) -> str:
        return f"<Reach {self.zone.name} {sorted(self._hosts)}>"

    def check_url(self, url: str, what: str) -> None:
        """Raises `UntrustedMetadata` for a URL that must not be used, which `what` names in the text."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            host, parts = "", urlsplit("")
        if not host or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise UntrustedMetadata(f"{what} is no URL; it was not used. Tell its operator")
        if "@" in parts.netloc:
            raise UntrustedMetadata(f"{what} is a URL with user information in it; it was not used. Tell its operator")
        allowed = host.lower().rstrip(".") in self._hosts
        if parts.scheme != "https" and not (parts.scheme == "http" and (allowed or is_loopback_name(host))):
            raise UntrustedMetadata(
                f"{what} is no https URL ({shown(parts.scheme)}://{shown(host)}); it was not used. If it is safe to "
                f"speak to it without TLS, name its host in allow_hosts"
            )
        if not allowed and (zone := _zone_by_name(host)) is not None and zone > self.zone:
            raise UntrustedMetadata(self._too_far(what, host))

    def admits(self, host: str, address: str) -> bool:
        """Whether this address of this host may be connected to."""
        return host.lower().rstrip(".") in self._hosts or zone_of(address) <= self.zone

    def _too_far(self, what: str, host: str) -> str:
        return (
            f"{what} points further inside ({shown(host)}) than the server itself is; it was not used. If that is "
            "meant, name its host in allow_hosts"
        )


def _zone_by_name(host: str) -> Zone | None:
    """The zone of a host that needs no resolver; None for other names."""
    if is_loopback_name(host):
        return Zone.LOOPBACK
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return zone_of(host)


def outermost(addresses: Iterable[str]) -> Zone:
    """The zone of a server with these addresses: one that has a public one is public, whatever else it claims."""
    return min((zone_of(address) for address in addresses), default=Zone.PUBLIC)
