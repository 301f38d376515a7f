"""Markdown as blocks that can be drawn: text with styles, and what stands before its lines.

Text of a model is never parsed as Textual's markup: blocks are built of plain text and style spans. Links are
shown with their address, which a click only finds; images are their description and address; HTML is literal
text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.content import Content
from textual.style import Style

from assistant.tui.document import Block, Document, drawn_before
from assistant.tui.links import BARE
from convert.untrusted import clean, clean_line

PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

ADDRESS = "address"
"""The name under which the style of a piece of text has the address that it leads to."""

TAB = 4
"""Columns. Tabs become spaces here: Textual measures styled text with tabs other than it draws it."""

LONG = 2_000
"""Characters from which on code is not coloured while its reply is being written."""
LINES_A_PIECE = 40

_STYLES = {"strong": "bold", "em": "italic", "s": "strike", "link": "underline"}
_CODE = "$text-accent"
_MARK = "$foreground-muted"
_HEADING = "bold $text-primary"


def render(text: str) -> Document:
    """Lay out a whole text."""
    return Document(list(_blocks(clean(text.replace("\r\n", "\n")))))


class GrowingMarkdown:
    """A text that grows at its end; each time only its last block is parsed again."""

    def __init__(self) -> None:
        self._finished: list[Block] = []
        self._last: list[Block] = []
        self._tail = ""

    def append(self, text: str) -> None:
        """Add text at the end."""
        self._tail += clean(text)

    def document(self) -> Document:
        """Lay out the text so far."""
        blocks = drawn_before(list(_blocks(self._tail, growing=True, began=bool(self._finished))), self._last)
        last_line = blocks[-1].line if blocks else 0
        if last_line > 0:
            lines = self._tail.split("\n")
            finished = "\n".join(lines[:last_line])
            # What is long gets its colours when the reply is over, beside the screen's thread.
            whole = _blocks(finished, growing=len(finished) > LONG, began=bool(self._finished))
            self._finished += drawn_before(list(whole), blocks)
            self._tail = "\n".join(lines[last_line:])
            blocks = [block for block in blocks if block.line == last_line]
        self._last = blocks
        return Document([*self._finished, *blocks])


@dataclass
class _Prefix:
    """What stands before the lines of a list item or a quotation: once `first`, then `rest`."""

    first: str
    rest: str
    used: bool = False


@dataclass
class _Walk:
    """Where in the nesting of lists and quotations the walk over the tokens is."""

    growing: bool
    prefixes: list[_Prefix] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    line: int = 0
    """The line at which the present top-level block begins."""
    began: bool = False
    """Whether there is a block before the next one."""
    last: int = -1
    """The line at which the last block's top-level block begins."""

    def block(self, content: Content, *, tight: bool = False, wrap: bool = True) -> Block:
        """A block here; a `tight` one has no empty line before it inside its list."""
        first = "".join(p.rest if p.used else p.first for p in self.prefixes)
        for prefix in self.prefixes:
            prefix.used = True
        rest = "".join(p.rest for p in self.prefixes)
        gap = self.began and (not tight or self.line != self.last)
        self.began, self.last = True, self.line
        return Block(content, first, rest, gap=gap, wrap=wrap, line=self.line, prefix_style=_MARK)


def _blocks(text: str, *, growing: bool = False, began: bool = False) -> Iterator[Block]:
    """The blocks of a text, which is `growing` or whole, with or without something before it."""
    walk = _Walk(growing, began=began)
    tokens = PARSER.parse(text)
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token.level == 0 and token.map and token.nesting >= 0:
            walk.line = token.map[0]
        if token.type == "table_open":
            end = next(i for i in range(position, len(tokens)) if tokens[i].type == "table_close")
            for row in _table(tokens[position:end]):
                yield walk.block(row, tight=True, wrap=False)
            position = end
        elif not _nest(token, walk):
            yield from _leaf(tokens, position, walk)
        position += 1


def _nest(token: Token, walk: _Walk) -> bool:
    """Take a token that begins or ends a list, an item or a quotation; whether it was one."""
    match token.type:
        case "bullet_list_open":
            walk.numbers.append(None)
        case "ordered_list_open":
            walk.numbers.append(int(token.attrs.get("start", 1)))
        case "bullet_list_close" | "ordered_list_close":
            walk.numbers.pop()
        case "list_item_open":
            number = walk.numbers[-1]
            marker = "• " if number is None else f"{number}. "
            if number is not None:
                walk.numbers[-1] = number + 1
            walk.prefixes.append(_Prefix(marker, " " * len(marker)))
        case "blockquote_open":
            walk.prefixes.append(_Prefix("│ ", "│ ", used=True))
        case "list_item_close" | "blockquote_close":
            walk.prefixes.pop()
        case _:
            return False
    return True


def _leaf(tokens: list[Token], position: int, walk: _Walk) -> Iterator[Block]:
    """The block of a token that holds text, if it does."""
    token = tokens[position]
    if token.type == "inline":
        content = _inline(token.children or [])
        opened = tokens[position - 1]
        if opened.type == "heading_open":
            content = content.stylize_before(_HEADING)
        yield walk.block(content, tight=opened.hidden)
    elif token.type in ("fence", "code_block"):
        yield from _code(token, walk)
    elif token.type == "hr":
        yield walk.block(Content("─" * 12).stylize(_MARK))


def _code(token: Token, walk: _Walk) -> Iterator[Block]:
    """A block of code, in pieces: what has come need not be laid out again for each line that follows."""
    text = _fit(token.content.rstrip("\n"))
    language = token.info.split()[0] if token.info.split() else ""
    content = Content(text).stylize(_CODE) if walk.growing or not language else _highlighted(text, language)
    lines = content.split("\n", allow_blank=True)
    bar = _Prefix("▎ ", "▎ ", used=True)
    walk.prefixes.append(bar)
    for place in range(0, max(1, len(lines)), LINES_A_PIECE):
        yield walk.block(
            Content("\n").join(lines[place : place + LINES_A_PIECE]), tight=place > 0, wrap=False
        )
    walk.prefixes.pop()


def warm_up() -> None:
    """Load what colours code. Not for the screen's thread."""
    _highlighted("x = 1", "python")


def _highlighted(text: str, language: str) -> Content:
    from textual.highlight import highlight  # noqa: PLC0415 - it brings pygments, which few replies need

    return highlight(text, language=language)


def _inline(children: Iterable[Token]) -> Content:
    """A paragraph's text with its styles. A line break stays one: models mean it."""
    parts: list[Content] = []
    open_styles: list[str] = []
    addresses: list[str] = []
    for child in children:
        style = " ".join(open_styles).strip()
        if child.nesting == 1:
            open_styles.append(_STYLES.get(child.tag if child.tag != "a" else "link", ""))
            addresses.append(clean_line(str(child.attrs.get("href", ""))) if child.tag == "a" else "")
        elif child.nesting == -1:
            open_styles.pop()
            address = addresses.pop()
            if address and address not in "".join(part.plain for part in parts):
                parts.append(_link(f" ({address})", address))
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(Content("\n"))
        elif child.type == "code_inline":
            parts.append(Content(_fit(child.content)).stylize(f"{style} {_CODE}".strip()))
        elif child.type == "image":
            address = clean_line(str(child.attrs.get("src", "")))
            parts.append(_link(f"{_fit(child.content) or 'image'} ({address})", address))
        else:
            shown = Content(_fit(child.content)).stylize(style)
            around = next((address for address in reversed(addresses) if address), "")
            parts.append(_leading_to(shown, around) if around else _with_bare_addresses(shown))
    return Content("").join(parts)


def _fit(text: str) -> str:
    """Text that was parsed, fit for the screen: the parser makes characters of `&#8238;` and of `%1b` in a link."""
    return clean(text).expandtabs(TAB)


def _leading_to(content: Content, address: str) -> Content:
    """Text that a click on finds the address of, and nothing more: it is for the screen to ask the user."""
    return content.stylize(Style.from_meta({ADDRESS: address}))


def _link(text: str, address: str) -> Content:
    return _leading_to(Content(text).stylize(_MARK), address)


def _with_bare_addresses(content: Content) -> Content:
    for match in BARE.finditer(content.plain):
        mark = Style.from_meta({ADDRESS: match[0]})
        content = content.stylize("underline", *match.span()).stylize(mark, *match.span())
    return content


def _table(tokens: list[Token]) -> list[Content]:
    """A table's rows, with columns padded to their widest cell, all but the last, and a line under the head."""
    rows: list[list[Content]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token.children or []))
    widths = [max(row[column].cell_length for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = [cell.pad_right(width - cell.cell_length) for cell, width in zip(row, widths, strict=True)]
        lines.append(Content("  ").join([*padded[:-1], row[-1]]))
    rule = Content("  ".join("─" * width for width in widths)).stylize(_MARK)
    return [lines[0].stylize_before("bold"), rule, *lines[1:]]
