"""examples/dataset.py and examples/dataset_client.py: whole, in bounded memory, and across a connection that breaks."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.program import LIMIT_SECONDS, environment

from mcpcore import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "dataset.py"
MEGABYTE = 1_000_000
LARGE_MB = 30
GROWTH_BYTES = 6 * MEGABYTE
"""What a server's memory may grow by between 1 MB and `LARGE_MB` that are streamed."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dataset.csv"
    command = [sys.executable, str(EXAMPLE), "generate", str(path), str(LARGE_MB)]
    subprocess.run(command, env=environment(), check=True, timeout=LIMIT_SECONDS)
    assert LARGE_MB * MEGABYTE <= path.stat().st_size < (LARGE_MB + 1) * MEGABYTE
    return path


class Chunks:
    """What arrives: the positions must be those of what has arrived."""

    def __init__(self, since: int = 0) -> None:
        self.position = since
        self.found: list[str] = []

    async def take(self, position: float, total: float | None, chunk: str | None) -> None:
        assert chunk is not None
        assert chunk.endswith("\n")
        self.position += len(chunk)
        self.found.append(chunk)
        assert position == self.position

    @property
    def text(self) -> str:
        return "".join(self.found)


@pytest.mark.anyio
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_memory_is_bounded_however_much_is_streamed(served: Any, transport: str, dataset: Path) -> None:
    expected = await anyio.Path(dataset).read_text()
    with served("dataset.py", transport, DATASET=str(dataset)) as target, anyio.fail_after(LIMIT_SECONDS):
        async with Client(target) as client:

            async def peak() -> int:
                result = await client.call_tool("peak_memory")
                return int(result.structured_content["result"])

            some, rest = Chunks(), Chunks()
            summed = await client.call_tool("stream", {"until": MEGABYTE}, on_progress=some.take)
            assert summed.structured_content == {
                "bytes": some.position,
                "sha256": hashlib.sha256(some.text.encode()).hexdigest(),
            }
            assert MEGABYTE <= some.position < MEGABYTE + 100
            before = await peak()
            rest = Chunks(some.position)
            await client.call_tool("stream", {"since": some.position}, on_progress=rest.take)
            assert await peak() - before < GROWTH_BYTES
            assert some.text + rest.text == expected
            assert len(rest.found) > 400
            if transport == "http":  # one line of stdio has 16 MiB
                answer = await client.call_tool("whole")
                assert answer.content[0].text == expected
                assert await peak() - before > LARGE_MB * MEGABYTE


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_dataset_that_is_not_there(served: Any, tmp_path: Path) -> None:
    with served("dataset.py", "stdio", DATASET=str(tmp_path / "none.csv")) as target, anyio.fail_after(LIMIT_SECONDS):
        async with Client(target) as client:
            for tool in ("stream", "whole"):
                result = await client.call_tool(tool)
                assert result.is_error
                assert result.content[0].text.startswith("there is no none.csv: generate it")


@pytest.mark.parametrize(
    ("transport", "anyio_backend"),
    [("http", "asyncio"), ("http", "trio"), ("stdio", "trio")],
    indirect=["anyio_backend"],
)
def test_the_client_measures_and_rebuilds(ran: Callable[..., Any], transport: str) -> None:
    said = ran("dataset_client.py", "--megabytes", "3", "--transport", transport).stdout
    rows = re.findall(r"^(\w+) +(3\.\d) MB +([\d.]+) s +([\d.]+) s +([\d.]+) MB$", said, re.MULTILINE)
    assert [row[0] for row in rows] == ["buffered", "streamed", "streamed"]
    assert all(float(first) <= float(total) for _, _, first, total, _ in rows)
    assert re.search(r"^rebuilt from \d\d chunks: the same SHA-256", said, re.MULTILINE)
    if transport == "stdio":
        assert "breaks" not in said
        return
    old, new = said.partition("2025-11-25: ")[2].split("2026-07-28: ")
    assert re.fullmatch(
        r"the connection breaks after [\d,]+ bytes\n  the same call, resumed: \d\d chunks, the same SHA-256\n", old
    )
    assert re.fullmatch(
        r"the connection breaks after [\d,]+ bytes\n"
        r"  ConnectionLost: .*; going on from byte [\d,]+\n"
        r"  2 calls: \d\d chunks, the same SHA-256\n",
        new,
    )
