"""What can be taken out of a message: its blocks of code, and the addresses in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it.token import Token

from assistant.tui.links import BARE
from assistant.tui.markdown import PARSER
from convert.untrusted import clean, clean_line


@dataclass(frozen=True)
class Code:
    """A block of code, fit for a terminal; `language` is as the message has it, or empty."""

    text: str
    language: str


@dataclass(frozen=True)
class Link:
    """An address and the words that stand for it; both fit for a terminal, and the same for a bare address."""

    address: str
    words: str


def code_blocks(text: str) -> list[Code]:
    """The blocks of code of a message, from top to bottom."""
    tokens = PARSER.parse(clean(text.replace("\r\n", "\n")))
    return [
        Code(token.content, clean_line(token.info).partition(" ")[0])
        for token in tokens
        if token.type in ("fence", "code_block") and token.content.strip()
    ]


def links(text: str) -> list[Link]:
    """The addresses in a message, each once, from top to bottom; those in code as well."""
    found: dict[str, Link] = {}
    for token in PARSER.parse(clean(text.replace("\r\n", "\n"))):
        for link in _links(token):
            found.setdefault(link.address, link)
    return list(found.values())


def _links(token: Token) -> Iterator[Link]:
    if token.type in ("fence", "code_block"):
        yield from _bare(token.content)
    address, words = "", ""
    for child in token.children or []:
        if child.type == "link_open":
            address, words = clean_line(str(child.attrs.get("href", ""))), ""
        elif child.type == "link_close":
            yield Link(address, clean_line(words))
            address = ""
        elif child.type == "image":
            yield Link(clean_line(str(child.attrs.get("src", ""))), clean_line(child.content))
        elif address:
            words += child.content
        else:
            yield from _bare(child.content)


def _bare(text: str) -> Iterator[Link]:
    for match in BARE.finditer(text):
        yield Link(match[0], match[0])
