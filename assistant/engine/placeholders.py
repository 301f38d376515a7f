"""What stands for the messages' contents while a template renders, and what of them is in its output.

A content is hidden from the template, so that nothing in it can look like the template's own text. But some
templates search contents: those of thinking models take old reasoning out, up to `</think>`, or look for
`/no_think`. Such words, where a template's source names them and they are no control tokens, stay visible in
a content, and what is between them is hidden piece by piece.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import nodes

from convert.errors import TakebackError

_SEARCHES = frozenset(
    (
        "split",
        "rsplit",
        "partition",
        "rpartition",
        "startswith",
        "endswith",
        "replace",
        "find",
        "rfind",
        "count",
    )
)
"""Methods and filters that look for their first argument in a text."""
_SHORTEST = 3
_MOST_PIECES = 64


@dataclass(frozen=True)
class Part:
    """A piece of the prompt: the template's own text, or the content of the message at `index` or a part of it."""

    text: str
    index: int | None = None


def searched_words(template: nodes.Template) -> frozenset[str]:
    """The words that a template looks for in texts, by its source, without white space around them."""
    found: list[nodes.Expr] = []
    for compared in template.find_all(nodes.Compare):
        if any(operand.op in ("in", "notin") for operand in compared.ops):
            found.append(compared.expr)
    for called in template.find_all(nodes.Call):
        if isinstance(called.node, nodes.Getattr) and called.node.attr in _SEARCHES:
            found += called.args[:1]
    for used in template.find_all(nodes.Filter):
        if used.name in _SEARCHES:
            found += used.args[:1]
    words = (
        node.value.strip() for node in found if isinstance(node, nodes.Const) and isinstance(node.value, str)
    )
    return frozenset(word for word in words if len(word) >= _SHORTEST)


class Placeholders:
    """Stands for the contents of one conversation. `texts` are what the template gets in their place."""

    def __init__(self, contents: Sequence[str], visible: Sequence[frozenset[str]]) -> None:
        """`visible` has for each content the words that the template may see in it."""
        self._nonce = secrets.token_hex(8)
        self._hidden: dict[
            str, tuple[int, str, str, str]
        ] = {}  # by name: whose, and text with its white space
        self._whole: dict[str, str] = {}  # texts of several pieces, and the name of all of them in one
        self.texts = [
            self._hide(index, content, words)
            for index, (content, words) in enumerate(zip(contents, visible, strict=True))
        ]

    def _hide(self, index: int, content: str, words: frozenset[str]) -> str:
        head, core, tail = _edges(content)
        whole = self._name(f"{index}", index, core, head, tail)
        longest_first = sorted((word for word in words if word in core), key=len, reverse=True)
        if not longest_first:
            return f"{head}{whole}{tail}"
        pieces = re.split(f"({'|'.join(map(re.escape, longest_first))})", core)
        if len(pieces) > _MOST_PIECES:
            return f"{head}{whole}{tail}"
        edges = [_edges(piece) for piece in pieces]
        if not any(edges[number][1] for number in range(0, len(pieces), 2)):
            return f"{head}{whole}{tail}"  # nothing to hide between the words, and so nothing to know it again by
        text = ""
        for number, (before, hidden, after) in enumerate(edges):
            if number % 2:  # one of the words
                text += hidden
            elif hidden:
                text += f"{before}{self._name(f'{index}.{number}', index, hidden, before, after)}{after}"
            else:
                text += pieces[number]
        self._whole[text.strip()] = whole
        return f"{head}{text}{tail}"

    def _name(self, label: str, index: int, core: str, head: str, tail: str) -> str:
        self._hidden[label] = (index, head, core, tail)
        return f"\ue000{self._nonce}.{label}\ue001"

    def parts(self, rendered: str) -> list[Part]:
        """The template's output in pieces: its own text, and the contents that are in it.

        Raises TakebackError if it made other placeholders of them.
        """
        for text, whole in self._whole.items():
            rendered = rendered.replace(text, whole)
        return [
            Part("".join(part.text for part in parts), index)
            for index, parts in groupby(self._pieces(rendered), lambda part: part.index)
        ]

    def _pieces(self, rendered: str) -> Iterator[Part]:
        pieces = re.split(f"\ue000{self._nonce}\\.([0-9.]+)\ue001", rendered)
        before, rest = pieces[0], iter(pieces[1:])
        for label, after in zip(rest, rest, strict=True):
            if label not in self._hidden:
                raise TakebackError("the model's chat template changes what is said; choose another model")
            index, head, core, tail = self._hidden[label]
            # White space at the content's edges went through the template, which may have taken it off.
            head = head if before.endswith(head) else ""
            tail = tail if after.startswith(tail) else ""
            if own := before.removesuffix(head):
                yield Part(own)
            yield Part(f"{head}{core}{tail}", index)
            before = after.removeprefix(tail)
        if before:
            yield Part(before)


def _edges(text: str) -> tuple[str, str, str]:
    """The white space that text begins with, what is between, and the white space that it ends with."""
    body = text.lstrip()
    core = body.rstrip()
    return text[: len(text) - len(body)], core, body[len(core) :]
