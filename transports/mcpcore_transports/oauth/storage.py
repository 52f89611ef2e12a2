"""Where tokens and registered clients are kept between logins: in memory, in files, or anywhere else."""

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import anyio.lowlevel
import anyio.to_thread

from mcpcore_transports.oauth.errors import StorageFailed

__all__ = ("MAX_RECORD_BYTES", "FileStorage", "MemoryStorage", "Storage", "default_directory")

MAX_RECORD_BYTES = 1024 * 1024
"""Bytes of one record that are read. A token has a few thousand."""


class Storage(Protocol):
    """A place for secrets. Used by any task; each call stands for itself.

    A key is words divided by spaces, which say whose the record is, and no secret: `server URL` (which token is that
    server's), `token ISSUER RESOURCE CLIENT_ID`, `client ISSUER CLIENT_ID` (a client that was registered there) and
    `client ISSUER` (the last of them). A value is bytes, and secret. What a method raises fails the login as
    `StorageFailed`.
    """

    async def get(self, key: str) -> bytes | None:
        """What was set last, None if there is nothing."""

    async def set(self, key: str, value: bytes) -> None:
        """Keep it in place of what was there; after a cancellation it holds the one or the other."""

    async def delete(self, key: str) -> None:
        """Forget it; nothing happens when there is nothing."""


class MemoryStorage:
    """Keeps everything for as long as it lives itself."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<MemoryStorage: {len(self._records)} records>"

    async def get(self, key: str) -> bytes | None:
        await anyio.lowlevel.checkpoint()
        return self._records.get(key)

    async def set(self, key: str, value: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self._records[key] = value

    async def delete(self, key: str) -> None:
        await anyio.lowlevel.checkpoint()
        self._records.pop(key, None)


class FileStorage:
    """A file for each record, in a directory that nobody else can read.

    A file is replaced as a whole (mode 0600, directory 0700), so that a reader of another process sees the old record
    or the other, never half of one. `get` raises `StorageFailed` for a file or directory that others may read or that
    is somebody else's: what is in it must be taken for known to them. So does every method when the file
    system refuses. One that is cancelled finishes what it began.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory: Path = default_directory() if directory is None else Path(directory)

    def __repr__(self) -> str:
        return f"<FileStorage {self.directory}>"

    async def get(self, key: str) -> bytes | None:
        return await anyio.to_thread.run_sync(self._get, key)

    async def set(self, key: str, value: bytes) -> None:
        # Not abandoned when its caller is cancelled: a rotated refresh token exists here or nowhere.
        await anyio.to_thread.run_sync(self._set, key, value)

    async def delete(self, key: str) -> None:
        await anyio.to_thread.run_sync(self._delete, key)

    def _path(self, key: str) -> Path:
        return self.directory / f"{key.partition(' ')[0]}-{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"

    def _get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailed(f"cannot read {path}: {error.strerror}; check its owner and mode") from error
        with os.fdopen(descriptor, "rb") as file:
            _refuse_open_to_others(os.fstat(descriptor), path)
            _refuse_open_to_others(os.stat(self.directory), self.directory)
            return file.read(MAX_RECORD_BYTES)

    def _set(self, key: str, value: bytes) -> None:
        path = self._path(key)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_open_to_others(os.stat(self.directory), self.directory)
            descriptor, temporary = tempfile.mkstemp(dir=self.directory, prefix=".", suffix=".part")  # mode 0600
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(value)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            if isinstance(error, StorageFailed):
                raise
            raise StorageFailed(f"cannot write {path}: {error.strerror}; check its directory") from error

    def _delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"cannot delete {path}: {error.strerror}; delete it by hand") from error


def default_directory() -> Path:
    """`mcpcore/oauth` in the user's state directory (XDG_STATE_HOME, or ~/.local/state)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "mcpcore" / "oauth"


def _refuse_open_to_others(status: os.stat_result, path: Path) -> None:
    if sys.platform == "win32":
        return  # the mode says nothing there; the profile directory is the user's
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise StorageFailed(
            f"others may read {path}: the tokens in it may be known to them. Log out and in again where it matters, "
            f"and run: chmod {mode} {path}"
        )
    if status.st_uid != os.geteuid():
        raise StorageFailed(f"{path} belongs to another user; choose another directory for tokens")
