"""A message laid out as blocks in one widget: paragraphs, list items with hanging indents, code, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.content import Content
from textual.css.styles import RulesMap
from textual.geometry import Offset
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual


@dataclass
class Block:
    """Text with what stands before its first line and its other lines."""

    content: Content
    first: str = ""
    rest: str = ""
    gap: bool = False
    """Whether an empty line comes before it."""
    wrap: bool = True
    """Whether lines break between words; code breaks only where the width ends."""
    line: int = 0
    """The line of the source at which the top-level block that it belongs to begins."""
    prefix_style: str = ""
    said: bool = True
    """Whether it is part of the message, or only about it and so never selected or copied."""
    strips: dict[tuple[int, Style, int], list[Strip]] = field(default_factory=dict, repr=False)
    """What was drawn, by width, style and first line."""
    heights: dict[int, int] = field(default_factory=dict, repr=False)
    """How many lines it takes, by width."""

    @property
    def look(self) -> tuple[object, ...]:
        """All that says how it is drawn; the same for blocks that look the same."""
        text = self.content
        return (
            text.plain,
            tuple(text.spans),
            self.first,
            self.rest,
            self.gap,
            self.wrap,
            self.prefix_style,
            self.said,
        )

    @property
    def lines(self) -> int:
        """How many lines it has before wrapping, the gap included."""
        return self.content.plain.count("\n") + 1 + self.gap

    def rules(self) -> RulesMap:
        """The style rules that wrap its text."""
        return {"text_wrap": "wrap" if self.wrap else "nowrap", "text_overflow": "fold"}


def drawn_before(blocks: Sequence[Block], before: Sequence[Block]) -> list[Block]:
    """The blocks; for each that looks like one of those `before`, that one, which need not be drawn again."""
    known: dict[tuple[object, ...], list[Block]] = {}
    for block in reversed(before):
        known.setdefault(block.look, []).append(block)
    result = []
    for block in blocks:
        if same := known.get(block.look):
            same[-1].line = block.line
            result.append(same.pop())
        else:
            result.append(block)
    return result


class Document(Visual):
    """Blocks, one below the other.

    Selections count the lines before wrapping and leave out what stands before them.
    """

    def __init__(self, blocks: Sequence[Block], reserve: int = 0) -> None:
        """Blocks from top to bottom; the document takes at least `reserve` lines."""
        self.blocks = tuple(blocks)
        self._reserve = reserve

    @property
    def plain(self) -> str:
        """The text as a selection of all of it would give it."""
        return "\n".join("\n" * block.gap + block.content.plain for block in self.blocks if block.said)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        """As wide as it may be, in cells."""
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        """The height in lines at a width in cells."""
        return max(self._reserve, sum(block.gap + _height(block, width) for block in self.blocks))

    def render_strips(
        self, width: int, height: int | None, style: Style, options: RenderOptions
    ) -> list[Strip]:
        """Draw all lines at a width in cells, or the first `height` of them."""
        strips: list[Strip] = []
        line = 0
        for block in self.blocks:
            if block.gap:
                strips.append(Strip.blank(width, style.rich_style))
            strips += _strips(block, width, style, options, line + block.gap)
            if block.said:
                line += block.lines
        strips += [Strip.blank(width, style.rich_style)] * (self._reserve - len(strips))
        return strips[:height]


def _width(block: Block, width: int) -> int:
    return max(2, width - len(block.rest))


def _height(block: Block, width: int) -> int:
    if width not in block.heights:
        block.heights[width] = block.content.get_height(block.rules(), _width(block, width))
    return block.heights[width]


def _strips(block: Block, width: int, style: Style, options: RenderOptions, line: int) -> list[Strip]:
    """The block's lines; its first one is line `line` of the document."""
    key = (width, style, line)
    if options.selection is None and key in block.strips:
        return block.strips[key]
    selection = _shifted(options.selection, -line) if block.said else None
    inner = RenderOptions(options.get_style, block.rules(), selection, options.selection_style)
    drawn = block.content.render_strips(_width(block, width), None, style, inner)
    mark = (
        (style + options.get_style(block.prefix_style)).rich_style if block.prefix_style else style.rich_style
    )
    strips = []
    for number, strip in enumerate(drawn):
        prefix = block.rest if number else block.first
        segments = [Segment(prefix, mark)] if prefix else []
        strips.append(Strip([*segments, *(_placed(segment, line, block.said) for segment in strip)]))
    if options.selection is None:
        block.strips = {key: strips}
    return strips


def _shifted(selection: Selection | None, lines: int) -> Selection | None:
    if selection is None:
        return None
    start, end = selection
    return Selection(start and Offset(start.x, start.y + lines), end and Offset(end.x, end.y + lines))


def _placed(segment: Segment, lines: int, said: bool) -> Segment:
    """The segment with its place, by which the mouse finds text, counted from the document's beginning."""
    style = segment.style
    if style is None or not (place := style.meta.get("offset")):
        return segment
    if not said:
        return Segment(segment.text, style.clear_meta_and_links(), segment.control)
    moved = RichStyle.from_meta({"offset": (place[0], place[1] + lines)})
    return Segment(segment.text, style + moved, segment.control)
