"""Tokenizers of SentencePiece's kind, as transformers saves those of Llama 2, Mistral, Gemma and Phi-3."""

import json
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from convert.verify_corpus import CORPUS

SPECIAL = ("<unk>", "<s>", "</s>")
_TO_SPACE = normalizers.Replace(" ", "▁")


def metaspace(scheme):
    return None, pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)


SPACES = {
    "prepend": (normalizers.Sequence([normalizers.Prepend("▁"), _TO_SPACE]), None),
    "none": (_TO_SPACE, pre_tokenizers.Split(" ", "merged_with_previous")),
    "first": metaspace("first"),
    "always": metaspace("always"),
}


@cache
def pieces(size):
    """Pieces as training orders them, single characters aside; all texts of the corpus but one are trained on."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = _TO_SPACE
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    texts = [text for text in CORPUS if "한국어" not in text] * 2 + ["take back what was said, " * 3]
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    vocab = trained.get_vocab()
    ordered = sorted(vocab, key=vocab.get)
    return [text for text in ordered if len(text) > 1], [text for text in ordered if len(text) == 1]


def sentencepiece_tokenizer(spaces="prepend", *, size=360, special=SPECIAL, added=(), begins=True):
    """The tokenizer: `special` first, then a token for each byte, the pieces, the characters, `added`.

    Every way to make a piece of two others is a merge, in the pieces' order, as when merges are made of scores.
    """
    longer, single = pieces(size)
    texts = [*special, *(f"<0x{i:02X}>" for i in range(256)), *longer, *single]
    vocab = {text: i for i, text in enumerate(texts)}
    merges = [
        (text[:i], text[i:])
        for text in longer
        for i in range(1, len(text))
        if text[:i] in vocab and text[i:] in vocab
    ]
    unknown = "<unk>"
    tokenizer = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token=unknown))
    normalizer, splitter = SPACES[spaces]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if splitter is not None:
        tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    tokenizer.add_tokens(list(added))
    value = json.loads(tokenizer.to_str())
    if begins:
        single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        begin = {"<s>": {"id": "<s>", "ids": [vocab["<s>"]], "tokens": ["<s>"]}}
        value["post_processor"] = {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": begin,
        }
    return json.dumps(value).encode(), tokenizer.get_vocab_size()
