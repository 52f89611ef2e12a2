"""Where URLs that a peer names may lead: no name or redirect of a public server may lead inside (MCP, SSRF).

An MCP server says where its authorization server is, and that one where its keys are; whoever follows can be sent to
whatever its machine reaches.
"""

import ipaddress
from collections.abc import Iterable
from enum import IntEnum
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

__all__ = ("Reach", "Zone", "is_loopback_host", "outermost", "split_strictly", "zone_of")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SHOWN_CHARACTERS = 200  # of a host or scheme in a refusal: enough to recognise it


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


def is_loopback_host(host: str) -> bool:
    """Whether a host, in lower case and without brackets, is this machine by definition (RFC 6761, 6.3): nothing that
    is sent there leaves it, so it may do without TLS. An IPv6 address that carries an IPv4 address is none: where it
    leads is the network's choice."""
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None


def split_strictly(url: str) -> SplitResult | None:
    """A URL with a host, taken apart; None for what is none, or what one parser reads otherwise than another: with
    other characters than ASCII, control characters, spaces or backslashes."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts if host else None


class Reach:
    """How far inside requests may go: `zone` and everything further out, and the `hosts` that were allowed by name.

    A host in `hosts` may be anywhere, and be spoken to without TLS. `this_machine` allows the names of this machine,
    whatever the zone. Names of this machine lead to it or nowhere, whatever a resolver says.
    """

    def __init__(self, zone: Zone = Zone.PUBLIC, hosts: Iterable[str] = (), *, this_machine: bool = False) -> None:
        self.zone = zone
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._this_machine = this_machine

    def __repr__(self) -> str:
        return f"<Reach {self.zone.name} {sorted(self._hosts)}>"

    def refusal(self, url: str, what: str) -> str | None:
        """None if a URL may be used as far as its text says, else why not; `what` names it there."""
        parts = split_strictly(url)
        if parts is None:
            return f"{what} is no URL; it was not used. Tell its operator"
        if "@" in parts.netloc:
            return f"{what} is a URL with user information in it; it was not used. Tell its operator"
        host = parts.hostname or ""
        allowed = host.rstrip(".") in self._hosts
        if parts.scheme != "https" and not (parts.scheme == "http" and (allowed or is_loopback_host(host))):
            return (
                f"{what} is no https URL ({_shown(parts.scheme)}://{_shown(host)}); it was not used. If it is safe to "
                "speak to it without TLS, name its host in allow_hosts"
            )
        zone = _zone_by_name(host)
        if allowed or zone is None or zone <= self.zone or (self._this_machine and is_loopback_host(host)):
            return None
        return (
            f"{what} points further inside ({_shown(host)}) than the server itself is; it was not used. If that is "
            "meant, name its host in allow_hosts"
        )

    def admits(self, host: str, address: str) -> bool:
        """Whether this address of this host may be connected to."""
        zone = zone_of(address)
        if is_loopback_host(host) and zone is not Zone.LOOPBACK:
            return False
        if self._this_machine and is_loopback_host(host):
            return True
        return host.lower().rstrip(".") in self._hosts or zone <= self.zone


def outermost(addresses: Iterable[str]) -> Zone:
    """The zone of a server with these addresses: one that has a public one is public, whatever else it claims."""
    return min((zone_of(address) for address in addresses), default=Zone.PUBLIC)


def _zone_by_name(host: str) -> Zone | None:
    """The zone of a host that needs no resolver; None for other names."""
    if is_loopback_host(host.rstrip(".")):
        return Zone.LOOPBACK
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return zone_of(host)


def _shown(text: str) -> str:
    return text[:_SHOWN_CHARACTERS]
