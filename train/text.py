"""What tells one text from another: digests, and near duplicates by shared word triples."""

from __future__ import annotations

import hashlib
import re


def digest(*parts: str) -> str:
    """16 hexadecimal digits that stand for these texts; parts cannot run into one another."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def triples(text: str) -> frozenset[tuple[str, ...]]:
    """The word triples of a text, lower case; a text of fewer words counts as one."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({tuple(words)})


def likeness(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    """Jaccard similarity of two sets of triples, 0 to 1."""
    union = len(left | right)
    return len(left & right) / union if union else 0.0
