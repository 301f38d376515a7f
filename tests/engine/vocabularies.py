"""Vocabularies with the special tokens of many families, for what may be typed at a tokenizer."""

import gguf

_KIND = gguf.TokenType
CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "<bos>",
    "<|user|>", "<|assistant|>", "<|end|>", "<|return|>", "<｜User｜>", "[RESET]", "<|fim_prefix|>", "<pad>",
)  # fmt: skip
MARKERS = ("<|channel|>", "<|message|>", "<|call|>")
"""Matched in ordinary text too, as gpt-oss has them."""


def add_byte_level(writer: gguf.GGUFWriter) -> int:
    """A byte-level BPE vocabulary with a few merges; returns its size."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + n) for n in range(256 - len(letters))]  # bytes that are no visible character
    merges = ["Ġ t", "h e", "Ġt he", "i n", "< |", "| >", "[ I", "e n", "Ċ Ċ"]
    tokens = [*letters, *("".join(merge.split()) for merge in merges)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges(merges)
    return _add(writer, tokens, [_KIND.NORMAL] * len(tokens))


def add_sentencepiece(writer: gguf.GGUFWriter) -> int:
    """A sentencepiece vocabulary, bytes and a few words, that puts a space before each text."""
    words = ["▁", "▁a", "▁the", "a", "e", "s", "t", "h", "▁s", "he", "th", "the", "<", "|", ">", "<|", "|>"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    types = [_KIND.UNKNOWN, _KIND.CONTROL, _KIND.CONTROL, *[_KIND.BYTE] * 256, *[_KIND.NORMAL] * len(words)]
    writer.add_tokenizer_model("llama")
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(True)
    return _add(writer, tokens, types)


def _add(writer: gguf.GGUFWriter, tokens: list[str], types: list[gguf.TokenType]) -> int:
    tokens = [*tokens, *CONTROL, *MARKERS]
    writer.add_token_list(tokens)
    writer.add_token_types([*types, *[_KIND.CONTROL] * len(CONTROL), *[_KIND.USER_DEFINED] * len(MARKERS)])
    writer.add_token_scores([-float(rank) for rank in range(len(tokens))])
    writer.add_bos_token_id(tokens.index("<|begin_of_text|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    return len(tokens)
