"""A line chart as SVG: a few points a series, sizes on a logarithmic axis, amounts from zero up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 60, 55
COLOURS = ("#1f5fa8", "#c4511d", "#2e7d32", "#6a4c93")
STEPS = 5

Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """What is shown: series by name, and what the axes say."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Points]
    logarithmic: bool = True
    """Whether the horizontal axis is; zero cannot stand on it."""


def svg(chart: Chart) -> str:
    """Draw it."""
    sizes = sorted({x for points in chart.series.values() for x, _ in points})
    step = _step(max(y for points in chart.series.values() for _, y in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 20, chart.title, 'font-size="14" font-weight="bold"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, chart.x_label, 'text-anchor="middle"'),
        _text(LEFT - 60, TOP - 10, chart.y_label),
    ]
    for number in range(STEPS + 1):
        height = _height(number / STEPS)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>'
        )
        parts.append(_text(LEFT - 8, height + 4, f"{number * step:,.10g}", 'text-anchor="end"'))
    for x in sizes:
        parts.append(_text(_across(x, sizes, chart), HEIGHT - 34, f"{x:,.10g}", 'text-anchor="middle"'))
    for number, (name, points) in enumerate(chart.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(_across(x, sizes, chart), _height(y / step / STEPS)) for x, y in points]
        line = " ".join(f"{across:.1f},{height:.1f}" for across, height in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{across:.1f}" cy="{height:.1f}" r="4" fill="{colour}"/>'
            for across, height in places
        ]
        if len(chart.series) > 1:
            parts.append(_text(LEFT + 230 + 110 * number, TOP - 10, name, f'fill="{colour}"'))
    return "\n".join([*parts, "</svg>", ""])


def _across(x: float, sizes: Sequence[float], chart: Chart) -> float:
    low, high, at = (log10(value) if chart.logarithmic else value for value in (sizes[0], sizes[-1], x))
    share = (at - low) / (high - low) if high > low else 0.5
    return LEFT + 25 + share * (WIDTH - RIGHT - LEFT - 60)


def _height(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _step(most: float) -> float:
    """A round fifth of the axis, which holds the largest amount."""
    rough = max(most, 1e-9) / STEPS
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power * STEPS >= most)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'
