"""Small charts as SVG text, for the pages under docs/: lines with bands, bars with ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 470, 270  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 40, 48  # what the plot itself leaves free
STYLE = """
    text { font-size: 12.5px; fill: #475569; }
    .title { font-size: 15px; font-weight: 600; fill: #0f172a; }
    .end { text-anchor: end; } .middle { text-anchor: middle; }
    .axis { stroke: #334155; } .grid { stroke: #e2e8f0; }
    .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
    .band { opacity: 0.18; } .range { stroke: #0f172a; stroke-width: 1.2; }
"""


@dataclass(frozen=True)
class Series:
    """One name's values, each with the ``low`` and ``high`` end of its band; all of one length.

    ``dashed``: drawn so that a line under it stays to be seen.
    """

    name: str
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """``x``: numbers give lines, texts give bars. ``top``: where the y axis, from 0, ends."""

    title: str
    x_label: str
    x: Sequence[float] | Sequence[str]
    series: Sequence[Series]
    top: float


def svg(panels: Sequence[Panel], colors: dict[str, str], label: str, columns: int = 2) -> str:
    """The panels in rows of ``columns`` under one legend. ``colors``: of every series name, in the
    legend's order. ``label``: what the picture shows, for those who do not see it."""
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT + 36
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{escape(label)}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, (name, color) in enumerate(colors.items()):
        x = LEFT + 180 * place
        parts.append(f'<rect x="{x}" y="14" width="22" height="12" rx="2" fill="{color}"/>')
        parts.append(f'<text x="{x + 30}" y="25">{escape(name)}</text>')
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        parts.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT + 36})">')
        parts += _panel(panel, colors)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, colors: dict[str, str]) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def y_of(value: float) -> float:
        return bottom - (bottom - TOP) * min(value / panel.top, 1.0)

    parts = [f'<text class="title" x="{LEFT}" y="24">{escape(panel.title)}</text>']
    for tick in _ticks(panel.top):
        y = y_of(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 8}" y="{y + 4:.1f}">{tick:g}</text>')
    draw = _bars if isinstance(panel.x[0], str) else _lines
    parts += draw(panel, colors, y_of)
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text class="middle" x="{middle}" y="{HEIGHT - 10}">{panel.x_label}</text>')
    return parts


def _lines(panel: Panel, colors: dict[str, str], y_of) -> list[str]:
    first, last = panel.x[0], panel.x[-1]

    def x_of(value: float) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * (value - first) / (last - first)

    def points(values: Sequence[float], xs: Sequence[float] = panel.x) -> list[str]:
        return [f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in zip(xs, values, strict=True)]

    parts = []
    for tick in _ticks(last):
        if tick >= first:
            parts.append(_tick(x_of(tick), f"{tick:,g}"))
    for series in panel.series:
        color = colors[series.name]
        outline = [*points(series.low), *reversed(points(series.high))]
        parts.append(f'<polygon class="band" fill="{color}" points="{" ".join(outline)}"/>')
    for series in panel.series:
        dash = ' stroke-dasharray="7 5"' if series.dashed else ""
        line = " ".join(points(series.mean))
        parts.append(
            f'<polyline class="line"{dash} stroke="{colors[series.name]}" points="{line}"/>'
        )
    return parts


def _bars(panel: Panel, colors: dict[str, str], y_of) -> list[str]:
    slot = (WIDTH - RIGHT - LEFT) / len(panel.x)
    wide = slot * 0.7 / len(panel.series)
    parts = []
    for place, name in enumerate(panel.x):
        start = LEFT + slot * (place + 0.15)
        parts.append(_tick(start + slot * 0.35, name))
        for number, series in enumerate(panel.series):
            x, y = start + wide * number, y_of(series.mean[place])
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{wide - 2:.1f}"'
                f' height="{y_of(0) - y:.1f}" fill="{colors[series.name]}"/>'
            )
            low, high = y_of(series.low[place]), y_of(series.high[place])
            middle = f"{x + wide / 2:.1f}"
            parts.append(
                f'<line class="range" x1="{middle}" x2="{middle}" y1="{low:.1f}" y2="{high:.1f}"/>'
            )
    return parts


def _tick(x: float, text: str) -> str:
    return f'<text class="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">{escape(text)}</text>'


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to ``top``, three to six of them."""
    size = 10 ** math.floor(math.log10(top))
    step = next(size * part for part in (0.2, 0.5, 1, 2) if top / (size * part) <= 5.5)
    return [step * n for n in range(math.floor(top / step + 1e-9) + 1)]
