"""What every benchmark program does: read its flags, let the contestants take turns, print a table."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from measuring.contenders import HERE, Contender, Installed
from measuring.process import DRIVER_CORE, TESTED_CORE, NotInstalled, Tested, free_port, pin, started
from measuring.slices import Row, Slice, interleaved
from measuring.table import Case, Report, as_json, as_text

__all__ = ("Entry", "Program")

Entry = tuple[str, Callable[[], tuple[str, Slice]]]
"""A name, and what makes a contestant ready: it returns the group and what measures one slice. It may raise
`NotInstalled`, and anything of what a process or a connection raises; both make a row that says why."""


class Program:
    """One question. Used as a context manager: what was started ends with it."""

    def __init__(self, question: str, description: str | None, *, slices: int, seconds: float) -> None:
        title = (description or question).strip().splitlines()[0]
        parser = argparse.ArgumentParser(description=title)
        parser.add_argument("--slices", type=int, default=slices, help="rounds; the median of them counts")
        parser.add_argument("--seconds", type=float, default=seconds, help="length of one slice")
        parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="rows whose name has it")
        parser.add_argument("--case", action="append", default=[], metavar="TEXT", help="cases whose name has it")
        parser.add_argument("--json", metavar="FILE", help="write the figures there too; - is stdout, without a table")
        parser.add_argument("--python", default=sys.executable, help="the interpreter that has ours")
        parser.add_argument("--peers", type=Path, default=HERE / "peers", help="where install_peers.sh put the others")
        options = parser.parse_args()
        self.seconds: float = options.seconds
        self.slices: int = options.slices
        self._only: list[str] = options.only
        self._cases: list[str] = options.case
        self._json: str | None = options.json
        self._question = question
        self._title = title
        self._found: list[Case] = []
        self._running: dict[tuple[str, ...], Tested] = {}
        self._stack = ExitStack()
        self.installed = Installed(options.python, options.peers)

    def __enter__(self) -> "Program":
        pin(DRIVER_CORE)
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def server(self, contender: Contender, *, http: bool, core: int = TESTED_CORE) -> Tested:
        """A server of that contender; the same one each time. Over HTTP it listens when this returns."""
        key = (contender.name, *contender.command, str(http))  # names differ where only the environment does
        running = self._running.get(key)
        if running is None:
            port = free_port() if http else None
            running = self._stack.enter_context(started(contender.command, contender.environment, port=port, core=core))
            if http:
                running.wait_listening()
            self._running[key] = running
        return running

    def case(
        self,
        name: str,
        unit: str,
        entries: Sequence[Entry],
        *,
        more_is_better: bool = False,
        reference: str = "ours asyncio",
        slices: int | None = None,
    ) -> None:
        """Measure one table, unless `--case` leaves it out."""
        if self._cases and not any(wanted in name for wanted in self._cases):
            return
        ready: dict[str, Slice] = {}
        groups: dict[str, str] = {}
        why_not: dict[str, str] = {}
        chosen = [entry for entry in entries if not self._only or any(wanted in entry[0] for wanted in self._only)]
        for who, make in chosen:
            groups[who] = "ours" if who.startswith("ours") else "limit" if who.startswith("limit") else "peer"
            try:
                groups[who], ready[who] = make()
            except NotInstalled as missing:
                why_not[who] = str(missing)
            except (OSError, RuntimeError, ValueError, AssertionError) as problem:
                why_not[who] = f"cannot be measured: {problem or type(problem).__name__}"
        self._note(f"{name}: {', '.join(ready)}")
        figures = interleaved(ready, slices or self.slices, seed=len(self._found))
        rows = []
        for who, _ in chosen:
            found = figures.get(who, [])
            if isinstance(found, Exception):
                why_not[who], found = f"failed: {found or type(found).__name__}", []
            rows.append(Row(name=who, group=groups[who], values=tuple(found), why_not=why_not.get(who)))
        self._found.append(
            Case(name=name, unit=unit, rows=tuple(rows), more_is_better=more_is_better, reference=reference)
        )

    def finish(self) -> None:
        """Print what was found."""
        report = Report(
            question=self._question,
            title=self._title,
            cases=tuple(self._found),
            versions=self.installed.versions(),
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}",
        )
        if self._json == "-":
            print(as_json(report), end="")
            return
        print(as_text(report))
        if self._json is not None:
            Path(self._json).write_text(as_json(report))

    @staticmethod
    def _note(text: str) -> None:
        print(f"... {text}", file=sys.stderr, flush=True)
