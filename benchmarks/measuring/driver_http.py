"""Drives a server over keep-alive connections with requests that were built before."""

import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from measuring.process import Tested

__all__ = ("HttpDriver", "Reply", "connected", "exchange", "read_reply")

_PATIENCE_SECONDS = 30.0
"""How long a server may be silent before it counts as stuck."""

_END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def messages(self) -> list[Any]:
        """The JSON-RPC messages of the body, out of its events when it is a stream of them."""
        if "event-stream" not in self.headers.get("content-type", ""):
            return [json.loads(self.body)] if self.body else []
        lines = self.body.replace(b"\r\n", b"\n").split(b"\n")
        return [json.loads(line[5:]) for line in lines if line.startswith(b"data:") and line[5:].strip()]


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _head(data: bytes) -> tuple[int, dict[str, str], int] | None:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in fields}, end + 4


def _unchunked(data: bytes) -> bytes | None:
    """The body, or None when its end has not come."""
    body, at = b"", 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(data[at:end].split(b";")[0], 16)
        if len(data) < end + 2 + size + 2:
            return None
        if not size:
            return body
        body += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def read_reply(sock: socket.socket) -> Reply:
    """One whole reply. Raises RuntimeError when the connection ends before it does."""
    data = b""
    while True:
        more = sock.recv(1 << 18)
        if not more:
            raise RuntimeError("the connection ended before the reply did")
        data += more
        found = _head(data)
        if found is None:
            continue
        status, headers, start = found
        if "chunked" in headers.get("transfer-encoding", ""):
            body = _unchunked(data[start:])
            if body is None:
                continue
        else:
            length = int(headers.get("content-length", "0"))
            if len(data) < start + length:
                continue
            body = data[start : start + length]
        return Reply(status, headers, body)


def exchange(port: int, request: bytes) -> Reply:
    with connected(port) as sock:
        sock.sendall(request)
        return read_reply(sock)


class HttpDriver:
    """One request in flight on each of its connections, which it opens for each slice: servers close idle ones."""

    def __init__(self, server: Tested, requests: Sequence[bytes]) -> None:
        """Each of `requests` is sent again and again on a connection of its own."""
        self._server = server
        self._requests = requests

    def run(self, seconds: float) -> tuple[int, int, float]:
        """Returns calls answered, CPU of the server in nanoseconds, and seconds, without what opening the connections
        cost. Raises RuntimeError for any answer but 200, and when the server falls silent."""
        assert self._server.port is not None
        socks: dict[int, socket.socket] = {}
        requests: dict[int, bytes] = {}
        try:
            for request in self._requests:
                sock = connected(self._server.port)
                sock.setblocking(False)
                socks[sock.fileno()] = sock
                requests[sock.fileno()] = request
            self._drive(socks, requests, 0.0)
            return self._drive(socks, requests, seconds)
        finally:
            for sock in socks.values():
                sock.close()

    def _drive(
        self, socks: dict[int, socket.socket], requests: dict[int, bytes], seconds: float
    ) -> tuple[int, int, float]:
        poll = select.epoll()
        waiting: dict[int, bytes] = {}
        unsent: dict[int, memoryview] = {}
        began_cpu, began = self._server.cpu_ns(), time.perf_counter()
        deadline = began + seconds
        for fd in socks:
            poll.register(fd, select.EPOLLIN)
        flying, answered = len(socks), 0

        def put(fd: int, data: memoryview) -> None:
            try:
                left = data[socks[fd].send(data) :]
            except BlockingIOError:
                left = data
            if left:
                unsent[fd] = left
                poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            elif unsent.pop(fd, None) is not None:
                poll.modify(fd, select.EPOLLIN)

        try:
            for fd, request in requests.items():
                put(fd, memoryview(request))
            while flying:
                events = poll.poll(_PATIENCE_SECONDS)
                if not events:
                    raise RuntimeError(f"silent for {_PATIENCE_SECONDS:.0f} s with {flying} calls in flight")
                again = time.perf_counter() < deadline
                for fd, event in events:
                    if event & select.EPOLLOUT and fd in unsent:
                        put(fd, unsent[fd])
                    if not event & ~select.EPOLLOUT:
                        continue
                    data = socks[fd].recv(1 << 18)
                    if not data:
                        raise RuntimeError("the server closed a connection")
                    if fd in waiting:
                        data = waiting.pop(fd) + data
                    if not _whole(data):
                        waiting[fd] = data
                        continue
                    answered += 1
                    if again:
                        put(fd, memoryview(requests[fd]))
                    else:
                        flying -= 1
        finally:
            poll.close()
        return answered, self._server.cpu_ns() - began_cpu, time.perf_counter() - began


_LENGTHS: dict[bytes, int | None] = {}
"""How long a reply with this head is, or None when its chunks say so; heads repeat for a second, that of their date."""


def _whole(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end]
    try:
        length = _LENGTHS[head]
    except KeyError:
        found = _head(data)
        assert found is not None
        status, headers, start = found
        if status != 200:
            raise RuntimeError(f"answered with {status}: {data[start : start + 200]!r}") from None
        chunked = "chunked" in headers.get("transfer-encoding", "")
        if len(_LENGTHS) > 10_000:
            _LENGTHS.clear()
        length = _LENGTHS[head] = None if chunked else start + int(headers["content-length"])
    return data.endswith(_END) if length is None else len(data) >= length
