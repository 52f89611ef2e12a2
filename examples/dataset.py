"""A large CSV file, sent chunk by chunk: the server holds one chunk at a time, however large the file is.

python examples/dataset.py generate dataset.csv 110               writes 110 MB of readings
mcpcore call examples/dataset.py stream until=200000              the first chunks, then their size and checksum
mcpcore run examples/dataset.py --transport http                  over HTTP; without the flag over stdio
python examples/dataset.py http                                   the same, and clients of 2025 may lose more at once
python examples/dataset_client.py                                 generates, streams, measures, and cuts the connection

DATASET names the file. Everything that a streaming tool yields (`async def … -> AsyncIterator`) is in its result as
well, so that a client which asks for no progress gets it too; that would be the whole file. Here the chunks are the
messages of progress notifications, whose position counts bytes, and the result is only what they add up to.
"""

import os
import random
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import anyio

from mcpcore import Context, Server, ToolError
from mcpcore.types import TextContent
from mcpcore_transports.http.replay import MemoryReplayStore

DATASET = Path(os.environ.get("DATASET", "dataset.csv"))
CHUNK_BYTES = 64 * 1024
REPLAY_BYTES = 32 * 1024 * 1024  # kept for each session of 2025: as much as may be on its way when a connection breaks
server = Server("dataset", version="1.0", instructions="Readings of sensors as CSV. Positions count bytes.")


@dataclass
class Sum:
    bytes: int
    sha256: str


def size_of(dataset: Path) -> int:
    if not dataset.is_file():
        raise ToolError(f"there is no {dataset.name}: generate it with `python examples/dataset.py generate`")
    return dataset.stat().st_size


@server.tool
async def stream(ctx: Context, since: int = 0, until: int | None = None) -> Sum:
    """The CSV from one position to the end of the line at another, in chunks of whole lines.

    Each chunk is the message of a progress notification; its progress is the position after it, where a call that was
    interrupted goes on with `since`.
    """
    size = size_of(DATASET)
    end = size if until is None else min(until, size)
    ctx.wait_for_reader()  # a client of 2025 that loses its connection comes back for the rest of this call
    position, digest = since, sha256()
    async with await anyio.open_file(DATASET, "rb") as file:
        await file.seek(since)
        while position < end:
            chunk = await file.read(min(CHUNK_BYTES, end - position)) + await file.readline()
            position += len(chunk)
            digest.update(chunk)
            await ctx.progress(position, total=max(end, position), message=chunk.decode())
    return Sum(position - since, digest.hexdigest())


@server.tool
def whole(until: int | None = None) -> TextContent:
    """The CSV to the end of the line at a position, in one piece: what `stream` is compared with."""
    size = size_of(DATASET)
    with DATASET.open("rb") as file:
        return TextContent(text=(file.read(size if until is None else until) + file.readline()).decode())


@server.tool
def peak_memory() -> int:
    """Bytes of memory that this process has had at most; 0 where /proc does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def generate(dataset: Path, megabytes: float) -> None:
    """Readings that look like ones, always the same."""
    numbers = random.Random(1)
    readings = [f"sensor-{numbers.randrange(97):02},{numbers.gauss(20, 5):.3f}\n" for _ in range(9973)]
    with dataset.open("w", newline="\n") as file:
        file.write("time,sensor,value\n")
        second = 1_700_000_000
        while file.tell() < megabytes * 1_000_000:
            file.writelines(f"{second + late},{reading}" for late, reading in enumerate(readings))
            second += len(readings)


if __name__ == "__main__":
    if sys.argv[1:2] == ["generate"]:
        generate(Path(sys.argv[2]), float(sys.argv[3]))
    elif sys.argv[1:] == ["http"]:
        server.run("http", port=0, store=MemoryReplayStore(max_bytes=REPLAY_BYTES))
    else:
        server.run()
