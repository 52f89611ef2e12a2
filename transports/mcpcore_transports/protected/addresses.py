"""Addresses that nothing on the internet has: where no name of an authorization server should lead by accident."""

import ipaddress

__all__ = ("is_inward",)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_inward(address: str) -> bool:
    """Whether an IP address is private, local to a link or a machine, or otherwise none of the public internet. An
    IPv6 address that carries an IPv4 address is judged by that. What is no address is inward."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is None and parsed.teredo is not None:
            inner = parsed.teredo[1]
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            parsed = inner
    return not parsed.is_global or parsed.is_multicast
