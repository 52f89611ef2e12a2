"""cli/progress: a bar on a terminal, lines elsewhere."""

from io import StringIO

import pytest

from mcpcore.cli import progress as progress_module
from mcpcore.cli.progress import Reports
from mcpcore.types import LoggingMessageNotificationParams

pytestmark = pytest.mark.anyio


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


async def test_lines() -> None:
    out = StringIO()
    reports = Reports(out)
    await reports.progress(1, 4, "reading\nthe file")
    await reports.progress(4.5, 4, None)
    await reports.progress(7, None, "more")
    await reports.progress(1, 0, "zero")
    await reports.log(LoggingMessageNotificationParams(level="warning", data={"left": 3}))
    await reports.log(LoggingMessageNotificationParams(level="info", data="a\x1b[2Jb"))
    reports.finish()
    assert out.getvalue().splitlines() == [
        "progress: 25% reading the file",
        "progress: 100%",
        "progress: 7 more",
        "progress: 1 zero",
        'warning: {"left":3}',
        "info: a�[2Jb",
    ]


async def test_a_bar_stays_below_what_is_noted() -> None:
    out = Terminal()
    reports = Reports(out)
    await reports.progress(1, 4, "one")
    bar = "[######..................]  25% one"
    assert out.getvalue() == f"\r\x1b[K{bar}"
    await reports.log(LoggingMessageNotificationParams(level="info", data="hello"))
    assert out.getvalue() == f"\r\x1b[K{bar}\r\x1b[Kinfo: hello\n{bar}"
    reports.finish()
    reports.finish()
    assert out.getvalue().endswith(f"{bar}\n")


async def test_a_bar_fits_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    await Reports(out).progress(1, None, "x" * 200)
    assert len(out.getvalue().removeprefix("\r\x1b[K")) == 39
    assert progress_module.BAR_CHARACTERS < 39
