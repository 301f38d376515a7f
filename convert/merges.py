"""The merges of a BPE tokenizer.json, which two versions of the `tokenizers` library write in two ways."""

from collections.abc import Mapping

from convert.checkpoint import Json
from convert.errors import TakebackError


def merge_pairs(model: Mapping[str, Json]) -> list[tuple[str, str]]:
    """The merges in order, the first of which is done first. Raises TakebackError for what is none."""
    given = model.get("merges")
    if not isinstance(given, list):
        raise TakebackError("tokenizer.json: its merges are no list")
    pairs: list[tuple[str, str]] = []
    for merge in given:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TakebackError("tokenizer.json: a merge is not two tokens")
        left, right = pair
        if " " in left or " " in right or not left or not right:
            raise TakebackError("tokenizer.json: a merge is not two tokens")
        pairs.append((left, right))
    return pairs
