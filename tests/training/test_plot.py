"""Charts are read back: where lines, bands, bars and ticks came to stand."""

import xml.etree.ElementTree as ET

import pytest

from training.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Panel, Series, svg

COLORS = {"a & b": "#111111"}
FLOOR, RIGHT_END = HEIGHT - BOTTOM, WIDTH - RIGHT


def elements(panel: Panel) -> ET.Element:
    return ET.fromstring(svg([panel], COLORS, "what it shows").replace(' xmlns="', ' was="'))


def test_lines_and_bands():
    panel = Panel("title", "steps", [0, 5, 10], [Series("a & b", [0, 1, 2], [0] * 3, [2] * 3)], 2)
    root = elements(panel)
    middle = f"{(LEFT + RIGHT_END) / 2:.1f},{(FLOOR + TOP) / 2:.1f}"
    line = f"{LEFT:.1f},{FLOOR:.1f} {middle} {RIGHT_END:.1f},{TOP:.1f}"
    assert root.find(".//polyline").get("points") == line
    assert len(root.find(".//polygon").get("points").split()) == 6
    texts = [text.text for text in root.iter("text")]
    assert texts[:2] == ["a & b", "title"] and texts[-1] == "steps"
    ticks = [float(text) for text in texts if text[0].isdigit()]
    assert ticks == [0, 0.5, 1, 1.5, 2, 0, 2, 4, 6, 8, 10]


def test_no_tick_lies_left_of_the_axis():
    panel = Panel("title", "batch", [1, 2, 3, 4], [Series("a & b", [1] * 4, [1] * 4, [1] * 4)], 1)
    texts = [t for t in elements(panel).iter("text") if t.get("class") == "middle"]
    assert [t.text for t in texts] == ["1", "2", "3", "4", "batch"]
    assert all(float(t.get("x")) >= LEFT for t in texts)


def test_bars_and_what_is_above_the_axis_is_cut():
    panel = Panel("title", "slot", ["x", "y"], [Series("a & b", [1, 9], [0, 9], [2, 9])], 2)
    root = elements(panel)
    heights = [float(r.get("height")) for r in root.find("g").iter("rect")]
    assert heights == [pytest.approx((FLOOR - TOP) / 2), pytest.approx(FLOOR - TOP)]
    ranges = [r for r in root.iter("line") if r.get("class") == "range"]
    assert (float(ranges[0].get("y1")), float(ranges[0].get("y2"))) == (FLOOR, TOP)
