"""What a call reports while it runs, on stderr: a bar on a terminal, lines anywhere else."""

import shutil
import sys
from typing import TextIO

import msgspec

from mcpcore.cli.render import visible
from mcpcore.types import LoggingMessageNotificationParams

__all__ = ("BAR_CHARACTERS", "Reports")

BAR_CHARACTERS = 24
"""Of the bar alone; percent and message come after it."""

_CLEAR = "\r\x1b[K"


class Reports:
    """Progress, log messages and notes. `finish` ends the line that a bar is on."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._bar = ""

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show how far a call is; percent only when the total is known."""
        words = " ".join(visible(message).split()) if message else ""
        share = progress / total if total is not None and total > 0 else None
        if share is None:
            amount = f"{progress:g}"
        else:
            share = min(max(share, 0.0), 1.0)
            amount = f"{share:4.0%}"
        if not self._terminal:
            self._line(f"progress: {amount.strip()} {words}".rstrip())
            return
        full = BAR_CHARACTERS if share is None else round(share * BAR_CHARACTERS)
        drawn = ("#" * full if share is not None else "-" * full).ljust(BAR_CHARACTERS, ".")
        width = shutil.get_terminal_size().columns - 1  # a character in the last column would break the line
        self._bar = f"[{drawn}] {amount} {words}".rstrip()[:width]
        self._stream.write(_CLEAR + self._bar)
        self._stream.flush()

    async def log(self, message: LoggingMessageNotificationParams) -> None:
        """Show a log message of the server as `level: text`."""
        data = message.data if isinstance(message.data, str) else msgspec.json.encode(message.data).decode()
        self.note(f"{message.level}: {data}")

    def note(self, text: str) -> None:
        """Show a text on a line of its own; a bar stays below it."""
        bar = self._bar
        self.clear()
        self._line(visible(text))
        if bar:
            self._bar = bar
            self._stream.write(bar)
            self._stream.flush()

    def clear(self) -> None:
        """Take the bar away, e.g. to ask the user something; the next progress draws it again."""
        if self._bar:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._bar = ""

    def finish(self) -> None:
        """Leave the bar where it is and go on below it."""
        if self._bar:
            self._bar = ""
            self._line("")

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()
