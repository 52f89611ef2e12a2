"""examples/monitor.py and examples/monitor_client.py: readings, a call that is cancelled, a resource that changes."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.program import PYTHONPATH, program, site

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVER = EXAMPLES / "monitor.py"
SECONDS = "0.1"
READING = re.compile(r" +(\d)  cpu +([\d.]+) %   memory +([\d.]+) %   watched by (\d)")

LEFT = re.compile(r"a watcher left after \d+ reports")


class Place:
    """Where the server is, and what it says on stderr once it has ended."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.said: list[str] = []


@pytest.fixture(params=["memory", "stdio", "http"])
def place(request: pytest.FixtureRequest, anyio_backend: str) -> Iterator[Place]:
    words = ("--backend", anyio_backend)
    if request.param == "memory":
        yield Place(str(SERVER))
    elif request.param == "stdio":
        command = " ".join(program("run", str(SERVER), *words))
        yield Place(f"stdio:env MONITOR_SECONDS={SECONDS} PYTHONPATH={PYTHONPATH} {command}")
    else:
        with site(SERVER, *words, MONITOR_SECONDS=SECONDS) as running:
            place = Place(running.urls[0])
            yield place
            assert running.stop() == 0
            assert [LEFT.fullmatch(line) is not None for line in running.said] == [True]


def test_watched_until_cancelled_and_then_subscribed_to(ran: Callable[..., Any], place: Place) -> None:
    done = ran("monitor_client.py", place.target, "--reports", "3", MONITOR_SECONDS=SECONDS)
    watching, _, listening = done.stdout.partition("seen enough: the call is cancelled\n")
    called, subscribed = ([READING.fullmatch(line) for line in part.splitlines()] for part in (watching, listening))
    assert (watching.splitlines()[0], listening.splitlines()[0]) == (
        "progress of a call:",
        "changes of monitor://load:",
    )
    for found, watchers in ((called, "1"), (subscribed, "0")):
        readings = [match for match in found if match is not None]
        assert [match[1] for match in readings] == ["1", "2", "3"]
        assert all(0 <= float(match[2]) <= 100 and 0 < float(match[3]) < 100 for match in readings)
        assert readings[-1][4] == watchers  # the first change may have been measured while the call was running
    if not place.target.startswith("http"):  # its own words come through the client's stderr
        assert len(LEFT.findall(done.stderr)) == 1


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The module, which finds what /proc says in a directory of the test."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "monitor", raising=False)  # and what is imported here goes with the test
    import monitor

    monkeypatch.setattr(monitor, "PROC", tmp_path)
    return monitor


def test_a_reading_is_about_the_time_since_the_one_before(example: Any, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  8000 kB\nMemFree:  100 kB\nMemAvailable:  6000 kB\n")
    (tmp_path / "stat").write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n")
    meter = example.Meter()
    # 300 ticks later, of which 150 were busy, 120 idle and 30 spent waiting for a disk
    (tmp_path / "stat").write_text("cpu  200 20 80 920 80 0 0 0 0 0\n")
    assert meter.load(2) == example.Load(50.0, 25.0, 2)
    assert meter.load() == example.Load(0.0, 25.0, 0)


def test_without_proc_the_load_average_has_to_do(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 9.0, 9.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert example.Meter().load(1) == example.Load(25.0, None, 1)
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 9.0, 9.0))
    assert example.Meter().load().cpu == 100
