"""The GGUF vocabulary of a byte-level BPE: its merges, and the name of its pre-tokenizer."""

from collections.abc import Mapping

from convert.checkpoint import Json
from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType
from convert.merges import merge_pairs
from convert.pre_tokenizer import recognise
from convert.untrusted import clean_line

_KEY = "tokenizer.ggml."


def byte_level_metadata(tokenizer: Mapping[str, Json], ids: Mapping[str, int]) -> dict[str, TypedValue]:
    """llama.cpp's keys of such a vocabulary; `ids` holds every token's id by its text."""
    model = tokenizer["model"]
    odd = [name for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout") if model.get(name)]
    if odd:
        raise TakebackError(f"tokenizer.json: {odd[0]} is set, which llama.cpp's BPE does not know")
    pairs = merge_pairs(model)
    for left, right in pairs:
        if left not in ids or right not in ids or left + right not in ids:
            shown = clean_line(f"{left} {right}"[:60])
            raise TakebackError(f"tokenizer.json: the merge {shown} is of tokens that are not there")
    merges = tuple(f"{left} {right}" for left, right in pairs)
    return {
        _KEY + "model": TypedValue(ValueType.STRING, "gpt2"),
        _KEY + "pre": TypedValue(ValueType.STRING, recognise(tokenizer)),
        _KEY + "merges": TypedValue(ValueType.ARRAY, merges, ValueType.STRING),
        _KEY + "add_space_prefix": TypedValue(ValueType.BOOL, data=False),
    }
