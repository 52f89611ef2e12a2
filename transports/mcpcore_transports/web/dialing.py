"""Opening connections: TCP, Unix sockets, TLS, and the way through a proxy."""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
import anyio.to_thread

from mcpcore.errors import ConnectFailed, ConnectionLost, RemoteProtocolError
from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.proxy import Proxy
from mcpcore_transports.web.response_parser import ResponseParser
from mcpcore_transports.web.urls import Origin
from mcpcore_transports.web.wire import SocketWire, TlsWire, Wire

__all__ = ("Dialer",)


class Dialer:
    """Opens connections with these limits; with `ssl_context`, or else one that trusts what the system trusts."""

    def __init__(
        self,
        limits: ClientLimits,
        ssl_context: ssl.SSLContext | None,
        admits: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._limits = limits
        self._ssl_context = ssl_context
        self._admits = admits

    async def dial(self, origin: Origin, proxy: Proxy | None) -> Wire:
        """A connection on which requests to `origin` can be sent.

        Raises `ConnectFailed`, whose text says what to check. Cancelled, it leaves nothing open.
        """
        seconds = self._limits.connect_seconds
        with anyio.move_on_after(seconds) as patience:
            if proxy is None:
                return await self._direct(origin, "check the URL, and that the server is running", self._admits)
            check = f"check the environment variable {proxy.variable}, or list the server in NO_PROXY"
            wire = await self._direct(proxy.origin, check)
            if origin.scheme != "https":
                return wire
            try:
                await self._tunnel(wire, origin, proxy)
            except BaseException:
                wire.close()
                raise
            return await self._secure(wire, origin)
        assert patience.cancelled_caught
        first = origin if proxy is None else proxy.origin
        raise ConnectFailed(
            f"{first.shown} was not ready for requests within {seconds:g} seconds; check that the address is right and "
            "that no firewall is in the way"
        )

    async def _direct(self, origin: Origin, check: str, admits: Callable[[str, str], bool] | None = None) -> Wire:
        try:
            hosts = [origin.host]
            if admits is not None and origin.scheme != "http+unix":
                hosts = await _admitted(origin, admits)
            wire = SocketWire(await _connect(origin, hosts), origin.shown)
        except ConnectFailed:
            raise
        except (OSError, UnicodeError) as failed:  # the latter for names that DNS cannot carry
            raise ConnectFailed(f"cannot connect to {origin.shown}: {_reason(failed)}; {check}") from failed
        return wire if origin.scheme != "https" else await self._secure(wire, origin)

    async def _secure(self, wire: Wire, origin: Origin) -> Wire:
        """TLS on `wire`, which is closed if that fails."""
        try:
            if self._ssl_context is None:
                # In a thread, because reading the system's certificates takes 10 to 100 ms.
                self._ssl_context = await anyio.to_thread.run_sync(_default_context)
            host = origin.host.partition("%")[0].rstrip(".")
            secured = TlsWire(wire, self._ssl_context, host, origin.shown)
            await secured.handshake(self._limits.write_seconds)
        except BaseException as failed:
            wire.close()
            if isinstance(failed, ssl.SSLCertVerificationError):
                raise ConnectFailed(
                    f"the certificate of {origin.shown} is not trusted: {failed.verify_message}; if it is meant to be, "
                    "pass an ssl_context that trusts it, or set SSL_CERT_FILE to its authority's certificate"
                ) from failed
            if isinstance(failed, ssl.SSLError | ConnectionLost):
                reason = failed.reason if isinstance(failed, ssl.SSLError) else failed
                raise ConnectFailed(
                    f"no TLS connection to {origin.shown}: {reason or 'the server hung up'}; check that it "
                    "speaks https on this port"
                ) from failed
            raise
        return secured

    async def _tunnel(self, wire: Wire, origin: Origin, proxy: Proxy) -> None:
        """Have the proxy connect `wire` to `origin` (RFC 9110, 9.3.6)."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        authority = f"{host}:{origin.port}"
        lines = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
        if proxy.authorization is not None:
            lines += f"proxy-authorization: {proxy.authorization}\r\n"
        parser = ResponseParser(proxy.origin.shown, "CONNECT", self._limits.head_bytes)
        try:
            await wire.send(f"{lines}\r\n".encode("ascii"), self._limits.write_seconds)
            while (head := parser.head()) is None:
                parser.feed(await wire.receive())
        except (ConnectionLost, RemoteProtocolError) as failed:
            raise ConnectFailed(
                f"the proxy {proxy.origin.shown} gave no connection to {origin.shown}: {failed}; check the environment "
                f"variable {proxy.variable}"
            ) from failed
        if not 200 <= head.status < 300:
            check = "the name and password in" if head.status == 407 else "whether it may be reached through"
            raise ConnectFailed(
                f"the proxy {proxy.origin.shown} refused to connect to {origin.shown} (status {head.status}); check "
                f"{check} the environment variable {proxy.variable}"
            )


async def _admitted(origin: Origin, admits: Callable[[str, str], bool]) -> list[str]:
    """The addresses of a host, which is then connected to by these: a second look-up could say something else. Raises
    `OSError` when the name is not known, and `ConnectFailed`."""
    found = await anyio.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if not all(admits(origin.host, address) for address in addresses):
        raise ConnectFailed(f"{origin.shown} is at an address that must not be connected to from here")
    return addresses


async def _connect(origin: Origin, hosts: Sequence[str]) -> socket.socket:
    """Connect to the first of these hosts that lets us. Raises `OSError`."""
    for host in hosts[:-1]:
        with contextlib.suppress(OSError):
            return await _connect_one(origin, host)
    return await _connect_one(origin, hosts[-1])


async def _connect_one(origin: Origin, host: str) -> socket.socket:
    stream: anyio.abc.SocketStream | anyio.abc.UNIXSocketStream
    if origin.scheme == "http+unix":
        stream = await anyio.connect_unix(host)
    else:
        stream = await anyio.connect_tcp(host, origin.port)
    # The backend's stream would keep its own buffer and its own closing; a duplicate of its socket has neither.
    connected = None
    try:
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        connected = socket.fromfd(raw.fileno(), raw.family, raw.type)
        await anyio.aclose_forcefully(stream)
    except BaseException:
        if connected is not None:
            connected.close()
        raise
    return connected


def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # a response that is cut off must not look complete
    return context


def _reason(failed: Exception) -> str:
    if isinstance(failed, socket.gaierror):
        return f"the name is not known ({failed.strerror})"
    cause = failed.__cause__
    if isinstance(cause, BaseExceptionGroup):
        reasons = [_reason(each) for each in cause.exceptions if isinstance(each, OSError)]
        return ", ".join(dict.fromkeys(reasons)) or str(failed)
    if isinstance(cause, OSError | UnicodeError):
        return _reason(cause)
    # asyncio words it as "[Errno 111] Connect call failed ('127.0.0.1', 1)", trio as "Connection refused".
    return os.strerror(failed.errno) if isinstance(failed, OSError) and failed.errno else str(failed)
