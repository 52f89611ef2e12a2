"""Draws what the benchmarks found: `plot.py [RESULTS_DIR] [FILE.svg]`, by default `results/` and `figures.svg` here."""

import json
import sys
from pathlib import Path
from typing import Any

from measuring.contenders import HERE
from measuring.figures import draw, panel_of

_HTTP = ("ours", "official", "FastMCP", "limit h11 trio", "limit httptools trio")
_PANELS: tuple[tuple[str, str, tuple[str, ...] | None], ...] = (
    ("stdio", "64 in flight, 100 B", ("ours", "official", "FastMCP", "TypeScript", "limit task asyncio")),
    ("http_json", "modern JSON, 100 B", _HTTP),
    ("stdio", "1 in flight, 100 B", ("ours", "official", "FastMCP", "TypeScript", "limit task asyncio")),
    ("http_events", "", _HTTP),
    ("in_memory", "modern", None),
    ("http_session", "a plain call", _HTTP),
    ("client", "HTTP", None),
    ("http_session", "as events", _HTTP),
    ("client", "stdio", None),
    ("progress", "HTTP", ("ours", "official", "FastMCP")),
    ("progress", "stdio", ("ours", "official", "FastMCP", "TypeScript")),
    ("fanout", "one update", None),
    ("start", "start to first answer", None),
    ("cancellation", "JSON", None),
    ("space", "idle stdio", None),
    ("space", "GET", None),
    ("start", "imports", None),
    ("space", "listen", None),
)
"""Program, words of the case's name, rows by the words they begin with."""


def main() -> int:
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "figures.svg"
    found: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    if not found:
        print(f"no figures in {results}: see run_all.py", file=sys.stderr)
        return 1
    panels = []
    for question, words, names in _PANELS:
        cases = found.get(question, {"cases": []})["cases"]
        case = next((case for case in cases if words in case["name"]), None)
        if case is not None:
            panels.append(panel_of(case, names))
    any_of = next(iter(found.values()))
    footer = f"Medians; × is against ours on asyncio. {any_of['machine']}; {', '.join(any_of['versions'])}"
    target.write_text(draw("mcpcore, its peers and the limit", panels, footer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
