"""Listening sockets: opened from a host and port or a path, or taken over."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import anyio

from mcpcore.errors import ConnectFailed

__all__ = (
    "BACKLOG",
    "Address",
    "address_of",
    "bind_address",
    "bind_path",
    "close_sockets",
    "naming_address",
    "open_sockets",
    "prepare",
)

BACKLOG = 1024
"""Connections that the kernel completes before we accept them: a burst of as many clients gets no refusal."""

Address: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


async def open_sockets(
    host: str, port: int, uds: str | None, sockets: Sequence[socket.socket] | None
) -> list[socket.socket]:
    """Listening, non-blocking sockets. With port 0, all addresses of `host` get the same free port.

    Raises `ConnectFailed`, which is an `OSError`, when an address cannot be had; then none stays open.
    """
    opened: list[socket.socket] = []
    try:
        with naming_address(host, port, uds):
            if sockets is not None:
                opened.extend(sockets)
            elif uds is not None:
                opened.append(bind_path(uds))
            else:
                found = await anyio.getaddrinfo(
                    host or None,
                    port,
                    type=socket.SOCK_STREAM,
                    flags=socket.AI_PASSIVE,
                )
                for family, _, _, _, address in dict.fromkeys(found):
                    if port == 0 and opened:
                        address = (address[0], opened[0].getsockname()[1])
                    opened.append(bind_address(family, address))
            for listening in opened:
                prepare(listening)
    except BaseException:
        close_sockets(opened)
        raise
    return opened


@contextlib.contextmanager
def naming_address(host: str, port: int, uds: str | None) -> Iterator[None]:
    """What the system says about an address, with the address and its own error number."""
    try:
        yield
    except OSError as error:
        place = uds if uds is not None else f"{host or 'every address'}, port {port}"
        failed = ConnectFailed(f"cannot listen on {place}: {error.strerror or error}")
        failed.errno = error.errno
        raise failed from error


def prepare(listening: socket.socket) -> None:
    """Have a bound socket listen, without blocking."""
    listening.listen(BACKLOG)
    listening.setblocking(False)
    if listening.family != getattr(socket, "AF_UNIX", None):
        # Connections inherit both: small events do not wait for each other, dead peers do not stay for ever.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def address_of(listening: socket.socket) -> Address:
    """Where a socket listens."""
    name = listening.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else str(name)


def close_sockets(opened: Sequence[socket.socket], *, unlink: bool = True) -> None:
    """Close them, and remove the files of Unix sockets unless somebody else serves on them still."""
    for listening in opened:
        if unlink and listening.fileno() >= 0 and listening.family == getattr(socket, "AF_UNIX", None):
            path = listening.getsockname()
            if path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        listening.close()


def bind_address(family: int, address: tuple[object, ...], *, share_port: bool = False) -> socket.socket:
    """A socket with this address, which others of this user may have as well if all of them `share_port`.

    Raises `OSError` when it cannot be had.
    """
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # There it means: a restart does not have to wait for connections of the last run to time out.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
    except BaseException:
        listening.close()
        raise
    return listening


def bind_path(path: str) -> socket.socket:
    """A Unix socket; one that a crashed server left at this path is replaced. Raises `OSError`."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listening.bind(path)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    """Remove the socket that a crashed server left behind; never one that is served, nor another kind of file."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
