"""Tables for people, and the same for programs."""

import json

from measuring.slices import Row
from measuring.table import Case, Report, as_json, as_text

CASE = Case(
    name="64 in flight",
    unit="us of CPU",
    rows=(
        Row(name="ours asyncio", group="ours", values=(10.0, 12.0, 11.0)),
        Row(name="official SDK", group="peer", values=(1500.0, 1600.0, 1400.0)),
        Row(name="FastMCP", group="peer", why_not="not installed: install_peers.sh"),
        Row(name="limit", group="limit", values=(5.5,)),
    ),
)
REPORT = Report(
    question="stdio", title="CPU of a server", cases=(CASE,), versions=("Python 3.11", "mcp 2.3.0"), machine="2 cores"
)


def test_a_table_has_the_unit_the_spread_the_ratio_and_the_versions() -> None:
    assert as_text(REPORT).splitlines() == [
        "CPU of a server",
        "",
        "64 in flight [us of CPU, less is better]",
        "  who           median    min..max  slices  x ours asyncio",
        "  ours asyncio    11.0  10.0..12.0       3            1.00",
        "  official SDK    1500  1400..1600       3          136.36",
        "  FastMCP       not installed: install_peers.sh",
        "  limit           5.50  5.50..5.50       1            0.50",
        "",
        "2 cores; Python 3.11, mcp 2.3.0",
    ]


def test_rates_say_that_more_is_better() -> None:
    rate = Case(name="progress", unit="per second", rows=CASE.rows[:1], more_is_better=True)
    assert "progress [per second, more is better]" in as_text(
        Report(question="progress", title="Rates", cases=(rate,), versions=(), machine="2 cores")
    )


def test_there_are_no_ratios_without_ours() -> None:
    alone = Case(name="alone", unit="us", rows=CASE.rows[1:2])
    text = as_text(Report(question="alone", title="Alone", cases=(alone,), versions=(), machine="2 cores"))
    assert text.splitlines()[4].split() == ["official", "SDK", "1500", "1400..1600", "3", "-"]


def test_json_has_every_slice_and_the_reasons() -> None:
    found = json.loads(as_json(REPORT))
    assert (found["question"], found["versions"]) == ("stdio", ["Python 3.11", "mcp 2.3.0"])
    (case,) = found["cases"]
    assert (case["unit"], case["more_is_better"], case["reference"]) == ("us of CPU", False, "ours asyncio")
    ours, official, fastmcp, limit = case["rows"]
    assert ours["values"] == [10.0, 12.0, 11.0]
    assert (ours["median"], ours["min"], ours["max"], ours["slices"], ours["ratio"]) == (11.0, 10.0, 12.0, 3, 1.0)
    assert official["group"] == "peer"
    assert (fastmcp["median"], fastmcp["ratio"]) == (None, None)
    assert fastmcp["why_not"] == "not installed: install_peers.sh"
    assert limit["ratio"] == 0.5
