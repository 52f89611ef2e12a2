"""Tables as one SVG: a panel of horizontal bars for each, on a linear scale that begins at zero.

The picture brings its own background and its colours for light and dark, so it can be read on any page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ("Bar", "Panel", "draw", "panel_of")

WIDTH = 960
COLUMNS = 2
_MARGIN = 24
_GAP = 28
_LABEL = 140
"""Pixels for the names before the bars."""
_VALUE = 92
"""Pixels for the figures behind them."""
_BAR, _STEP = 13, 19
_HEAD, _FOOT = 40, 18
_TOP, _BOTTOM = 64, 40

_STYLE = """
svg { font: 12px system-ui, sans-serif; --page: #ffffff; --ink: #1f2328; --faint: #59636e; --ours: #0969da;
  --peer: #bf8700; --limit: #8c959f; --line: #d1d9e0 }
@media (prefers-color-scheme: dark) { svg { --page: #0d1117; --ink: #f0f6fc; --faint: #9198a1; --ours: #4493f8;
  --peer: #d29922; --limit: #656c76; --line: #3d444d } }
.page { fill: var(--page) } text { fill: var(--ink) } .faint { fill: var(--faint) }
.h { font-size: 18px; font-weight: 600 }
.t { font-weight: 600 } .ours { fill: var(--ours) } .peer { fill: var(--peer) } .limit { fill: var(--limit) }
.line { stroke: var(--line) }
"""


@dataclass(frozen=True)
class Bar:
    name: str
    group: str
    value: float | None
    note: str = ""
    """What stands there instead of a bar."""


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    bars: tuple[Bar, ...]

    @property
    def height(self) -> int:
        return _HEAD + _STEP * len(self.bars) + _FOOT


def panel_of(case: dict[str, object], names: Sequence[str] | None = None) -> Panel:
    """A case of a program's JSON. `names` chooses rows, by the words that they begin with."""
    rows = case["rows"]
    assert isinstance(rows, list)
    bars = []
    for row in rows:
        if names is not None and not any(row["name"].startswith(name) for name in names):
            continue
        note = "" if row["why_not"] is None else _short(row["why_not"])
        bars.append(Bar(row["name"], row["group"], row["median"], note))
    more = " - more is better" if case["more_is_better"] else ""
    return Panel(str(case["name"]), f"{case['unit']}{more}", tuple(bars))


def _short(why_not: str) -> str:
    text = why_not.removeprefix("failed: ").removeprefix("cannot be measured: ").partition(":")[0]
    return text if len(text) <= 44 else f"{text[:43]}…"


def number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _panel(panel: Panel, left: int, top: int, width: int) -> Iterable[str]:
    yield f'<text class="t" x="{left}" y="{top + 14}">{escape(panel.title)}</text>'
    yield f'<text class="faint" x="{left}" y="{top + 30}">{escape(panel.unit)}</text>'
    start, room = left + _LABEL, width - _LABEL - _VALUE
    most = max((bar.value for bar in panel.bars if bar.value is not None), default=1.0) or 1.0
    reference = next((bar.value for bar in panel.bars if bar.group == "ours" and bar.value), None)
    for index, bar in enumerate(panel.bars):
        y = top + _HEAD + index * _STEP
        yield f'<text x="{start - 8}" y="{y + 11}" text-anchor="end">{escape(bar.name)}</text>'
        if bar.value is None:
            yield f'<text class="faint" x="{start + 4}" y="{y + 11}">{escape(bar.note)}</text>'
            continue
        length = max(room * bar.value / most, 1.0)
        yield f'<rect class="{bar.group}" x="{start}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
        times = "" if reference is None else f' <tspan class="faint">×{bar.value / reference:.2f}</tspan>'
        yield f'<text x="{start + length + 6:.1f}" y="{y + 11}">{number(bar.value)}{times}</text>'
    bottom = top + _HEAD + _STEP * len(panel.bars)
    yield f'<line class="line" x1="{start}" x2="{start}" y1="{top + _HEAD - 3}" y2="{bottom}"/>'


def draw(title: str, panels: Sequence[Panel], footer: str) -> str:
    """The whole picture. Panels fill the column that is shorter at that point."""
    width = (WIDTH - 2 * _MARGIN - (COLUMNS - 1) * _GAP) // COLUMNS
    ends = [_TOP] * COLUMNS
    parts: list[str] = []
    for panel in panels:
        column = ends.index(min(ends))
        parts += _panel(panel, _MARGIN + column * (width + _GAP), ends[column], width)
        ends[column] += panel.height
    height = max(ends) + _BOTTOM
    words = ("ours", "this library"), ("peer", "other SDKs"), ("limit", "the same wire work without a framework")
    legend, x = [], _MARGIN
    for group, text in words:
        legend.append(f'<rect class="{group}" x="{x}" y="42" width="11" height="11" rx="2"/>')
        legend.append(f'<text class="faint" x="{x + 16}" y="52">{text}</text>')
        x += 40 + 7 * len(text)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
            f'<text class="h" x="{_MARGIN}" y="28">{escape(title)}</text>',
            *legend,
            *parts,
            *(
                f'<text class="faint" x="{_MARGIN}" y="{height - 26 + 14 * line}" font-size="10">{escape(text)}</text>'
                for line, text in enumerate(_wrapped(footer))
            ),
            "</svg>",
            "",
        ]
    )


def _wrapped(text: str) -> list[str]:
    """Two lines at most."""
    if len(text) <= 165:
        return [text]
    cut = text.rfind(", ", 0, 165) + 1 or 165
    return [text[:cut], text[cut:].strip()]
