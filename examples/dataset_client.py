"""Streams a large CSV from a server of its own, measures it, and cuts the connection in the middle.

python examples/dataset_client.py                                   110 MB over HTTP
python examples/dataset_client.py --megabytes 20 --transport stdio  less, over pipes, where nothing can be cut

You will see how long it takes to the first chunk and to the last, and what memory the server needed, once for the
answer in one piece and once chunk by chunk; that the rebuilt file has the checksum of the original; and what becomes of
a call whose connection breaks: up to 2025-11-25 the client takes it up again by itself (Last-Event-ID) and the same
call goes on, from 2026-07-28 on it ends with `ConnectionLost` and another call goes on from the last chunk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from mcpcore import Client, ConnectionLost
from mcpcore_transports.stdio.client import StdioTransport

SERVER = Path(__file__).with_name("dataset.py")
ONE_PIECE_MB = {"http": 40, "stdio": 12}  # a client takes an answer of 64 MiB, or a line of 16 MiB
PATIENCE_SECONDS = 600


class Rebuilt:
    """What has arrived, chunk by chunk. It only keeps count; yours would write a file."""

    def __init__(self) -> None:
        self.size = self.chunks = 0
        self.digest = sha256()
        self.started = time.perf_counter()
        self.first = 0.0

    async def take(self, position: float, total: float | None, chunk: str | None) -> None:
        data = (chunk or "").encode()
        self.first = self.first or time.perf_counter() - self.started
        self.chunks += 1
        self.size += len(data)
        self.digest.update(data)
        assert self.size == position, f"{position - self.size:+.0f} bytes"

    async def fetch(self, client: Client, until: int | None = None) -> int:
        """Call until all of it is here, each time from where the last call ended. Returns how often one was lost."""
        lost = 0
        while True:
            try:
                wanted = {"since": self.size, "until": until}
                await client.call_tool("stream", wanted, on_progress=self.take, timeout=PATIENCE_SECONDS)
                return lost
            except ConnectionLost as error:
                lost += 1
                print(f"  {type(error).__name__}: {error}; going on from byte {self.size:,}")


@asynccontextmanager
async def serving(transport: str, dataset: Path) -> AsyncIterator[Any]:
    """A server in a process of its own; yields what a client is pointed at."""
    command = [sys.executable, str(SERVER)]
    env = {**os.environ, "DATASET": str(dataset)}
    if transport == "stdio":
        yield StdioTransport(command, env=env)
        return
    async with await anyio.open_process([*command, "http"], env=env, stdout=None, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = await BufferedByteReceiveStream(process.stderr).receive_until(b"\n", 1000)
        yield line.decode().split()[-1]  # mcpcore: listening on URL
        process.terminate()


@asynccontextmanager
async def cut_once(url: str, after: int) -> AsyncIterator[str]:
    """The same URL through a relay that breaks its connections once, when so many bytes have come from the server."""
    seen = 0

    async def pump(source: ByteStream, sink: ByteStream, counts: bool, connection: anyio.CancelScope) -> None:
        nonlocal seen
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in source:
                await sink.send(data)
                seen += len(data) if counts else 0
                if seen - (len(data) if counts else 0) < after <= seen:
                    break
        connection.cancel()

    async def relay(client: SocketStream) -> None:
        async with client, await anyio.connect_tcp("127.0.0.1", urlsplit(url).port or 0) as server:
            async with anyio.create_task_group() as both:
                both.start_soon(pump, client, server, False, both.cancel_scope)
                both.start_soon(pump, server, client, True, both.cancel_scope)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, relay)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield url.replace(f":{urlsplit(url).port}", f":{port}")
        tasks.cancel_scope.cancel()


async def measure(transport: str, dataset: Path, how: str, until: int) -> Rebuilt:
    rebuilt = Rebuilt()
    async with serving(transport, dataset) as target, Client(target) as client:
        rebuilt.started = time.perf_counter()
        if how == "streamed":
            await rebuilt.fetch(client, until)
        else:
            result = await client.call_tool("whole", {"until": until}, timeout=PATIENCE_SECONDS)
            text = getattr(result.content[0], "text", "")
            await rebuilt.take(len(text.encode()), None, text)
        total = time.perf_counter() - rebuilt.started
        peak = (await client.call_tool("peak_memory")).structured_content
    memory = peak["result"] / 1e6 if isinstance(peak, dict) else 0
    print(f"{how} {until / 1e6:7.1f} MB {rebuilt.first:10.3f} s {total:10.3f} s {memory:10.1f} MB", flush=True)
    return rebuilt


async def main(megabytes: float, transport: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "dataset.csv"
        await anyio.run_process([sys.executable, str(SERVER), "generate", str(dataset), str(megabytes)])
        size, expected = dataset.stat().st_size, sha256(dataset.read_bytes()).hexdigest()
        print("                      first chunk        total  server's peak memory")
        part = min(size, int(ONE_PIECE_MB[transport] * 1e6))
        pieces = [await measure(transport, dataset, how, part) for how in ("buffered", "streamed")]
        assert pieces[0].digest.digest() == pieces[1].digest.digest()
        whole = await measure(transport, dataset, "streamed", size)
        same = whole.digest.hexdigest() == expected
        print(f"rebuilt from {whole.chunks} chunks: {'the same' if same else 'ANOTHER'} SHA-256 {expected[:16]}…")
        for era in () if transport == "stdio" else ("2025-11-25", "2026-07-28"):
            rebuilt = Rebuilt()
            async with serving(transport, dataset) as url, cut_once(url, size // 3) as cut:
                async with Client(cut, era=era) as client:
                    print(f"{era}: the connection breaks after {size // 3:,} bytes")
                    lost = await rebuilt.fetch(client)
            same &= rebuilt.digest.hexdigest() == expected
            how = f"{lost + 1} calls" if lost else "the same call, resumed"
            print(f"  {how}: {rebuilt.chunks} chunks, {'the same' if same else 'ANOTHER'} SHA-256")
    return 0 if same else 1


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--megabytes", type=float, default=110)
    words.add_argument("--transport", choices=("http", "stdio"), default="http")
    given = words.parse_args()
    backend = os.environ.get("MCPCORE_BACKEND", "asyncio")
    sys.exit(anyio.run(main, given.megabytes, given.transport, backend=backend))
