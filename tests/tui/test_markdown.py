"""Markdown becomes blocks, the same whether it comes at once or bit by bit, and never markup or control."""

from hypothesis import given, settings
from hypothesis import strategies as st
from textual.style import Style
from textual.visual import RenderOptions

from assistant.tui.document import Document
from assistant.tui.markdown import GrowingMarkdown, render

SAMPLE = """# Head

A paragraph with **bold**, `code` and a [link](http://a.example/b)
and its next line.

- one
- two words that are long enough to wrap where the width is small
  - nested

1. first

   its second paragraph
2. second

> a quotation

```python
def f():
    return 1
```

| a | b |
|---|---|
| 1 | two |

end"""


def lines(document: Document, width: int) -> list[str]:
    strips = document.render_strips(width, None, Style(), RenderOptions(lambda style: Style(), {}))
    assert len(strips) == document.get_height({}, width)
    return [strip.text.rstrip() for strip in strips]


def test_a_sample_is_laid_out() -> None:
    assert lines(render(SAMPLE), 40) == [
        "Head",
        "",
        "A paragraph with bold, code and a link",
        "(http://a.example/b)",
        "and its next line.",
        "",
        "• one",
        "• two words that are long enough to wrap",
        "  where the width is small",
        "  • nested",
        "",
        "1. first",
        "",
        "   its second paragraph",
        "",
        "2. second",
        "",
        "│ a quotation",
        "",
        "▎ def f():",
        "▎     return 1",
        "",
        "a  b",
        "─  ───",
        "1  two",
        "",
        "end",
    ]


def test_growing_gives_the_same_in_the_end() -> None:
    growing = GrowingMarkdown()
    for character in SAMPLE:
        growing.append(character)
        growing.document()
    assert lines(growing.document(), 40) == lines(render(SAMPLE), 40)


PIECES = ["- a\n", "1. b", "\n", "\n\n", "> q", "```", "# h", "[/x]", "| a |\n|---|\n", "*b*", " ", "word "]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, "\t", "<b>", "---", "\u2028", "漢字"]), max_size=25))
def test_growing_never_fails_and_has_the_height_it_says(pieces: list[str]) -> None:
    growing = GrowingMarkdown()
    for piece in pieces:
        growing.append(piece)
        document = growing.document()
        for width in (3, 20):
            lines(document, width)


def test_control_sequences_markup_and_html_are_plain_text() -> None:
    text = "\x1b[31mred\x1b]0;title\x07 [@click=app.quit]x[/] [/b] <script> \u202egnp"
    shown = "\n".join(lines(render(text), 200))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[@click=app.quit]x[/] [/b] <script>" in shown


def test_a_selection_is_the_source_text_without_marks() -> None:
    document = render("- one\n- two\n\n```\ncode\n```")
    assert document.plain == "one\ntwo\n\ncode"


def test_links_that_lie_show_their_address() -> None:
    assert lines(render("[http://good.example](http://bad.example)"), 80) == [
        "http://good.example (http://bad.example)"
    ]
