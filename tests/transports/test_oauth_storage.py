"""Where tokens are kept: in memory, and in files that nobody else reads."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from mcpcore_transports.oauth.errors import StorageFailed
from mcpcore_transports.oauth.records import Records
from mcpcore_transports.oauth.registration import Registration
from mcpcore_transports.oauth.storage import FileStorage, MemoryStorage, Storage, default_directory
from mcpcore_transports.oauth.token import Token

pytestmark = pytest.mark.anyio

KEY = "token https://issuer.example https://server.example/mcp client"


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(tmp_path / "a" / "b")


async def test_it_keeps_replaces_and_forgets(storage: Storage) -> None:
    assert await storage.get(KEY) is None
    await storage.delete(KEY)
    await storage.set(KEY, b"secret1")
    await storage.set(KEY, b"secret2")
    await storage.set(f"{KEY}2", b"other")
    assert await storage.get(KEY) == b"secret2"
    assert "secret" not in repr(storage)
    await storage.delete(KEY)
    assert await storage.get(KEY) is None
    assert await storage.get(f"{KEY}2") == b"other"


async def test_files_are_their_owners_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        storage = FileStorage(tmp_path / "state" / "oauth")
        await storage.set(KEY, b"secret")
    finally:
        os.umask(old)
    [file] = storage.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(storage.directory.stat().st_mode) == 0o700
    assert "server.example" not in file.name, "what somebody uses is nobody else's business"


@pytest.mark.parametrize("which", ["file", "directory"])
async def test_what_others_may_read_is_refused(tmp_path: Path, which: str) -> None:
    storage = FileStorage(tmp_path / "oauth")
    await storage.set(KEY, b"secret")
    [file] = storage.directory.iterdir()
    os.chmod(file if which == "file" else storage.directory, 0o640 if which == "file" else 0o755)
    with pytest.raises(StorageFailed, match="others may read") as failed:
        await storage.get(KEY)
    assert "chmod" in str(failed.value)
    if which == "directory":
        with pytest.raises(StorageFailed, match="others may read"):
            await storage.set(KEY, b"other")


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "oauth")
    await storage.set(KEY, b"secret")
    [file] = storage.directory.iterdir()
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(StorageFailed, match="cannot read"):
        await storage.get(KEY)
    await storage.set(KEY, b"mine")
    assert elsewhere.read_bytes() == b"secret"


async def test_readers_see_whole_records_while_others_write(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "oauth")
    await storage.set(KEY, b"0" * 50_000)
    script = (
        "import sys, anyio\nfrom mcpcore_transports.oauth.storage import FileStorage\n"
        "async def main():\n"
        "    for n in range(50): await FileStorage(sys.argv[1]).set(sys.argv[2], str(n % 10).encode() * 50_000)\n"
        "anyio.run(main)\n"
    )
    path = os.pathsep.join(sys.path)
    writer = subprocess.Popen(  # noqa: ASYNC220 - it is the other process
        [sys.executable, "-c", script, str(storage.directory), KEY], env={**os.environ, "PYTHONPATH": path}
    )
    reads = 0
    while writer.poll() is None:
        value = await storage.get(KEY)
        assert value is not None
        assert (len(value), len(set(value))) == (50_000, 1)
        reads += 1
    assert writer.returncode == 0
    assert reads > 0
    assert len(list(storage.directory.iterdir())) == 1, "no part is left"


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot write"):
        await FileStorage(tmp_path / "file" / "oauth").set(KEY, b"x")


async def test_a_write_is_whole_although_its_caller_is_cancelled(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "oauth")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(storage.set, KEY, b"secret")
            await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert await storage.get(KEY) in (b"secret", None)


@pytest.mark.parametrize(
    ("state", "expected"), [("/x", "/x/mcpcore/oauth"), ("", "/home/a/.local/state/mcpcore/oauth")]
)
def test_the_directory_of_the_command_line(monkeypatch: pytest.MonkeyPatch, state: str, expected: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", "/home/a")
    assert default_directory() == Path(expected)


# -- records ---------------------------------------------------------------------------------------------------------

TOKEN = Token(access_token="secret", issuer="https://i.example", resource="https://s.example", client_id="c")


async def test_a_token_is_found_by_its_server() -> None:
    records = Records(MemoryStorage())
    assert await records.token("https://s.example/mcp") is None
    await records.keep_token("https://s.example/mcp", TOKEN)
    assert await records.token("https://s.example/mcp") == TOKEN
    assert await records.token("https://s.example/other") is None
    await records.forget_token("https://s.example/mcp")
    assert await records.token("https://s.example/mcp") is None


async def test_a_key_holds_no_secret() -> None:
    storage = MemoryStorage()
    records = Records(storage)
    urls = [
        f"https://{who}s.example/mcp{query}" for who in ("", "me:secret@") for query in ("", "?key=secret", "?key=2")
    ]
    for number, url in enumerate(urls):
        await records.keep_token(url, msgspec.structs.replace(TOKEN, client_id=str(number)))
    assert "secret" not in " ".join(storage._records)
    found = [await records.token(url) for url in urls]
    assert [token and token.client_id for token in found] == [str(number) for number in range(len(urls))]


async def test_a_client_is_found_by_its_issuer_only() -> None:
    records = Records(MemoryStorage())
    first = Registration(issuer="https://i.example", client_id="c", client_secret="secret")
    second = Registration(issuer="https://i.example", client_id="d")
    await records.keep_client(first)
    await records.keep_client(second)
    assert await records.client("https://i.example") == second
    assert await records.client("https://i.example", "c") == first
    assert await records.client("https://i.example", "e") is None
    assert await records.client("https://i.example/") is None
    await records.forget_client(first)
    assert await records.client("https://i.example", "c") is None
    assert await records.client("https://i.example") == second
    await records.forget_client(second)
    assert await records.client("https://i.example") is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"[" * 100_000, TOKEN.issuer.encode()])
async def test_a_damaged_record_is_none(damage: bytes) -> None:
    storage = MemoryStorage()
    records = Records(storage)
    await records.keep_token("https://s.example/mcp", TOKEN)
    for key in list(storage._records):
        await storage.set(key, damage)
    assert await records.token("https://s.example/mcp") is None


async def test_a_token_that_was_moved_is_none() -> None:
    storage = MemoryStorage()
    records = Records(storage)
    await records.keep_token("https://s.example/mcp", TOKEN)
    evil = Token(access_token="secret", issuer="https://evil.example", resource="https://s.example", client_id="c")
    await records.keep_token("https://evil.example/mcp", evil)
    moved = next(value for key, value in storage._records.items() if key.startswith("token https://evil"))
    await storage.set(next(key for key in storage._records if key.startswith("token https://i.")), moved)
    assert await records.token("https://s.example/mcp") is None


@pytest.mark.parametrize(
    "use",
    [
        lambda records: records.token("https://s.example"),
        lambda records: records.keep_token("https://s.example", TOKEN),
        lambda records: records.forget_client(Registration(issuer="https://i.example", client_id="c")),
    ],
)
async def test_what_a_storage_raises_is_a_failed_login_without_its_text(use: Callable[[Records], object]) -> None:
    class Broken:
        async def get(self, key: str) -> bytes | None:
            raise RuntimeError("secret")

        async def set(self, key: str, value: bytes) -> None:
            raise RuntimeError("secret")

        async def delete(self, key: str) -> None:
            raise RuntimeError("secret")

    with pytest.raises(StorageFailed, match="RuntimeError") as failed:
        await use(Records(Broken()))  # type: ignore[misc]
    assert "secret" not in str(failed.value)
