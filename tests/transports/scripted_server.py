"""A server that says, byte for byte, what a test tells it to: one coroutine per connection."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ("PATIENCE_SECONDS", "Authority", "Caller", "Script", "Served", "ok", "serving")

PATIENCE_SECONDS = 20
"""Bound of every wait that is expected to end."""


class Caller:
    """The server's end of one connection. `number` counts connections from 0."""

    def __init__(self, stream: anyio.abc.ByteStream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._buffer = b""

    async def request(self) -> bytes:
        """A whole request with its body (by content-length); b"" when the client closed instead."""
        while (end := self._buffer.find(b"\r\n\r\n") + 4) < 4:
            if not await self._more():
                return b""
        length = 0
        for line in self._buffer[:end].lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(self._buffer) < end + length:
            if not await self._more():
                return b""
        whole, self._buffer = self._buffer[: end + length], self._buffer[end + length :]
        return whole

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def closed(self) -> None:
        """Wait until the client has closed."""
        while await self._more():
            pass

    async def _more(self) -> bool:
        try:
            data = await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            return False
        self._buffer += data
        return True


Script = Callable[[Caller], Awaitable[None]]


class Served:
    """Where a scripted server listens."""

    port = 0
    connections = 0
    listener: anyio.abc.Listener[anyio.abc.SocketStream]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


def ok(body: bytes = b"ok", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (headers, len(body), body)


@asynccontextmanager
async def serving(
    script: Script,
    *,
    host: str = "127.0.0.1",
    path: Path | None = None,
    tls: ssl.SSLContext | None = None,
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[Served]:
    """A server that runs `script` for each connection, which ends with it; stopped when left."""
    served = Served()

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            secured: anyio.abc.ByteStream = stream
            number, served.connections = served.connections, served.connections + 1
            try:
                if tls is not None:
                    secured = await TLSStream.wrap(stream, server_side=True, ssl_context=tls)
                await script(Caller(secured, number))
                if tls is not None:
                    await secured.aclose()
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError):
                pass  # the client left, which is for the client's side of the test to judge

    async def accept() -> None:
        try:
            await listener.serve(handle)
        except* anyio.ClosedResourceError:
            pass  # the script has closed it, which cancels every other one

    listener: anyio.abc.Listener[anyio.abc.SocketStream]
    if path is not None:
        listener = await anyio.create_unix_listener(path)
    else:
        listener = await anyio.create_tcp_listener(local_host=host)
        served.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    served.listener = listener
    async with listener, anyio.create_task_group() as group:
        group.start_soon(accept)
        try:
            with anyio.fail_after(patience):
                yield served
        finally:
            group.cancel_scope.cancel()


class Authority:
    """A certificate authority for the length of a test run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """For a server with a certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        found: list[x509.GeneralName] = []
        for name in names:
            try:
                found.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                found.append(x509.DNSName(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName(found))
        path = self._directory / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.load_cert_chain(path)
        return context

    def certificate_file(self) -> Path:
        """What a client has to trust."""
        path = self._directory / "authority.pem"
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certificate_file()))
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        instant = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(instant - datetime.timedelta(days=1))
            .not_valid_after(instant + datetime.timedelta(days=1))
            .add_extension(extension, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())
