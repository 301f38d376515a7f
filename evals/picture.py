"""A report's shares as one SVG picture: a bar for each, and a line over it for its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evals.measures import Measure

_LABELS, _BARS, _COUNTS = 620, 360, 110
"""Widths in pixels: of the names, of a share of 100 %, and of the counts behind it."""
_ROW, _TITLE, _EDGE = 22, 40, 12
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.count{fill:#555}"
    ".bar{fill:#7aa6c2}.grid{stroke:#ddd}.interval{stroke:#222;stroke-width:1.5}"
)


def as_svg(measures: Sequence[Measure]) -> str:
    """The picture, with the measures of one section under its name; each bar also has its figures as text."""
    parts: list[str] = []
    y, section = _EDGE, None
    for measure in measures:
        if measure.section != section:
            section = measure.section
            parts += [_text(_EDGE, y + 24, section, "title"), _scale(y + _TITLE)]
            y += _TITLE + 4
        parts += _bar(measure, y)
        y += _ROW
    width, height = _EDGE + _LABELS + _BARS + _COUNTS, y + _EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>Shares with their 95 % intervals</title>\n<style>{_STYLE}</style>\n"
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(measure: Measure, y: int) -> list[str]:
    """The name, the bar, the interval with its ends, and the count."""
    left, middle = _EDGE + _LABELS, y + _ROW // 2
    low, high = (left + _BARS * share for share in measure.interval)
    line = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
    count = f"{measure.count} / {measure.total}"
    return [
        _text(_EDGE + _LABELS - 8, middle + 4, measure.name, anchor="end", fit=_LABELS - 8),
        f'<rect class="bar" x="{left}" y="{y + 4}" width="{_BARS * measure.share:.1f}" height="{_ROW - 8}"/>',
        f'<path class="interval" d="{line}"/>',
        _text(left + _BARS + 10, middle + 4, count, "count"),
    ]


def _scale(y: int) -> str:
    """The marks of 0, 50 and 100 % above a section's bars."""
    marks = []
    for percent in (0, 50, 100):
        x = _EDGE + _LABELS + _BARS * percent // 100
        marks.append(_text(x, y - 4, f"{percent} %", "count", anchor="middle"))
        marks.append(f'<path class="grid" d="M{x} {y}v4"/>')
    return "".join(marks)


def _text(x: int, y: int, text: str, kind: str = "", *, anchor: str = "start", fit: int | None = None) -> str:
    """One line of text. One that is likely too long for `fit` pixels is squeezed into them."""
    squeezed = f' textLength="{fit}" lengthAdjust="spacingAndGlyphs"' if fit and 7 * len(text) > fit else ""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}"{squeezed}>{escape(text)}</text>'
