"""The picture of the figures."""

from xml.etree import ElementTree

from measuring.figures import Bar, Panel, draw, panel_of

SVG = "{http://www.w3.org/2000/svg}"

ROWS = [
    {"name": "ours trio", "group": "ours", "median": 50.0, "why_not": None},
    {"name": "official SDK", "group": "peer", "median": 500.0, "why_not": None},
    {"name": "FastMCP", "group": "peer", "median": None, "why_not": "not installed: install_peers.sh"},
    {"name": "limit <bare>", "group": "limit", "median": 25.0, "why_not": None},
]
CASE = {"name": "64 in flight", "unit": "us", "more_is_better": False, "rows": ROWS}


def test_a_bar_is_as_long_as_its_figure() -> None:
    picture = ElementTree.fromstring(draw("Title", [panel_of(CASE)], "versions"))
    widths = {
        rect.get("class"): float(rect.get("width", "0")) for rect in picture.iter(f"{SVG}rect") if rect.get("y") != "42"
    }
    assert widths["peer"] / widths["ours"] == 10
    assert widths["ours"] / widths["limit"] == 2


def test_figures_ratios_and_reasons_are_written_beside_the_bars() -> None:
    picture = ElementTree.fromstring(draw("Title", [panel_of(CASE)], "mcp 2.3.0"))
    texts = ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]
    for expected in ("64 in flight", "us", "500 ×10.00", "25.0 ×0.50", "not installed", "limit <bare>", "mcp 2.3.0"):
        assert expected in texts


def test_rows_are_chosen_by_how_their_names_begin() -> None:
    assert [bar.name for bar in panel_of(CASE, ("ours", "limit")).bars] == ["ours trio", "limit <bare>"]


def test_a_rate_says_that_more_is_better() -> None:
    assert panel_of({**CASE, "more_is_better": True}).unit == "us - more is better"


def test_panels_do_not_overlap_and_lie_inside_the_picture() -> None:
    panels = [Panel(f"panel {rows}", "us", (Bar("ours", "ours", 1.0),) * rows) for rows in (3, 7, 2, 5, 4)]
    picture = ElementTree.fromstring(draw("Title", panels, "a footer " * 40))
    bars = [rect for rect in picture.iter(f"{SVG}rect") if rect.get("height") == "13"]
    places = [(rect.get("x"), rect.get("y")) for rect in bars]
    assert len(places) == 21
    assert len(set(places)) == 21
    assert max(float(rect.get("y", "0")) for rect in bars) < float(picture.get("height", "0"))


def test_it_has_colours_for_dark_pages() -> None:
    assert "prefers-color-scheme: dark" in draw("Title", [panel_of(CASE)], "")
