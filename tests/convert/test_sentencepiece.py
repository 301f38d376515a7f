"""Vocabularies of SentencePiece's kind: equal ids in llama.cpp, and what is refused."""

import json
import random
import struct

import pytest
from tokenizers import AddedToken, Tokenizer

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.verify import _ask_llama, verify
from convert.verify_corpus import CORPUS
from tests.convert.family import SETTINGS, layer_shapes, reset, shapes, sizes, write_family
from tests.convert.sentencepiece_tokenizer import SPACES, sentencepiece_tokenizer

CONFIG = sizes(architectures=["LlamaForCausalLM"], num_hidden_layers=1)


def write(folder, tokenizer, settings=None):
    write_family(folder, CONFIG, shapes(1, layer_shapes()), tokenizer)
    (folder / "tokenizer_config.json").write_text(json.dumps(SETTINGS | (settings or {})))


def result(folder):
    out = folder.parent / "out.gguf"
    convert(folder, out, force=True)
    return out, read_header(out).metadata


def hard_texts(count):
    """Pieces of the corpus and of runs, thrown together."""
    chance = random.Random(5)
    parts = [" ", "  ", "    ", "\n\n", "\t", "'s", "the", "▁", "[", "1234", "é", *"".join(CORPUS)]
    return tuple("".join(chance.choices(parts, k=chance.randint(1, 60))) for _ in range(count))


@pytest.mark.parametrize("spaces", SPACES)
def test_llama_cuts_every_text_as_the_tokenizer_does(tmp_path, spaces):
    tokenizer, size = sentencepiece_tokenizer(spaces, added=[reset()])
    write(tmp_path / "c", tokenizer)
    out, metadata = result(tmp_path / "c")
    assert [check for check in verify(out, tmp_path / "c") if check.verdict == "fail"] == []
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is (spaces in ("prepend", "always"))
    assert metadata["tokenizer.ggml.add_bos_token"] is True
    assert metadata["tokenizer.ggml.token_type"][:4] == (2, 3, 3, 6)
    assert metadata["tokenizer.ggml.token_type"][size - 1 : size + 1] == (3, 5)
    texts = [text.lstrip(" ") if spaces == "always" else text for text in hard_texts(150)]
    texts = tuple("<s>" + text for text in texts if text)
    theirs = [Tokenizer.from_file(str(tmp_path / "c" / "tokenizer.json")).encode(text).ids for text in texts]
    ours = _ask_llama(out, None, texts)["corpus"]
    for text, expected, found in zip(texts, theirs, ours, strict=True):
        assert found == expected[1:], text  # the tokenizer puts a beginning before the one that is there


def test_added_tokens_that_stand_for_spaces(tmp_path):
    """Gemma's runs: found in normalized text they are USER_DEFINED with their spaces, else merges make them."""
    for normalized, kind, text in ((True, 4, "    "), (False, 1, "▁▁▁▁")):
        added = [
            AddedToken("▁▁▁▁", normalized=normalized, special=False),
            AddedToken("\n\n", normalized=False),
            reset(),
        ]
        tokenizer, _ = sentencepiece_tokenizer("none", added=added)
        write(tmp_path / "c", tokenizer)
        out, metadata = result(tmp_path / "c")
        i = metadata["tokenizer.ggml.tokens"].index(text)
        assert metadata["tokenizer.ggml.token_type"][i] == kind
        assert [check for check in verify(out, tmp_path / "c") if check.verdict == "fail"] == []


def test_a_tabulator_may_share_its_byte_s_id(tmp_path):
    tokenizer, _ = sentencepiece_tokenizer("none", added=[reset()])
    value = json.loads(tokenizer)
    vocab = value["model"]["vocab"]
    gone = vocab.pop("\t", None)
    assert gone is not None
    vocab["\t"] = vocab["<0x09>"]
    write(tmp_path / "c", json.dumps(value).encode())
    out, metadata = result(tmp_path / "c")
    assert metadata["tokenizer.ggml.tokens"][vocab["<0x09>"]] == "<0x09>"
    assert [check for check in verify(out, tmp_path / "c") if check.verdict == "fail"] == []


def test_tokens_that_take_the_space_behind_them(tmp_path):
    """llama.cpp knows it by the model's name alone, so the name says it, and says it of no other model."""
    special = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|end|>")
    for takes in (True, False):
        tokenizer, _ = sentencepiece_tokenizer("first", special=special, added=[reset()])
        value = json.loads(tokenizer)
        for entry in value["added_tokens"]:
            entry["rstrip"] = takes and entry["content"] in ("</s>", "<|end|>")
        write(tmp_path / "phi-3-like", json.dumps(value).encode())
        out, metadata = result(tmp_path / "phi-3-like")
        assert ("phi-3" in metadata["general.name"]) == takes
        text = "<s>hello<|end|> \n and<s> on</s>  [RESET] off"
        theirs = Tokenizer.from_file(str(tmp_path / "phi-3-like" / "tokenizer.json")).encode(text).ids[1:]
        assert (_ask_llama(out, None, (text,))["corpus"][0] == theirs) == (not takes)
        text = text.replace("[RESET] ", "")  # which llama.cpp then takes to do so too
        theirs = Tokenizer.from_file(str(tmp_path / "phi-3-like" / "tokenizer.json")).encode(text).ids[1:]
        assert _ask_llama(out, None, (text,))["corpus"][0] == theirs


def entry_flag(text, **flags):
    def change(value):
        next(entry for entry in value["added_tokens"] if entry["content"] == text).update(flags)

    return change


def without_a_merge(value):
    merges = value["model"]["merges"]
    several = next(m for m in merges if sum("".join(o) == "".join(m) for o in merges) > 1)
    merges.remove(several)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_a_merge, "no merge makes"),
        (lambda value: value["model"]["merges"].append(value["model"]["merges"][0]), "do not stand together"),
        (lambda value: value["model"]["vocab"].pop("<0x41>"), "not a token for each byte"),
        (lambda value: value["model"].update(ignore_merges=True), "ignore_merges"),
        (lambda value: value.update(pre_tokenizer={"type": "Whitespace"}), "way to treat spaces"),
        (lambda value: value.update(normalizer={"type": "NFKC"}), "way to treat spaces"),
        (entry_flag("</s>", lstrip=True), "lstrip or single_word"),
        (entry_flag("</s>", rstrip=True), "where there is <.endoftext.> too"),
    ],
)
def test_what_llama_cannot_do_alike_is_refused(tmp_path, change, why):
    value = json.loads(sentencepiece_tokenizer(added=[reset()])[0])
    change(value)
    write(tmp_path / "c", json.dumps(value).encode())
    with pytest.raises(TakebackError, match=why):
        convert(tmp_path / "c", tmp_path / "out.gguf")


def test_a_wrong_score_is_found(tmp_path):
    """What verify is for: the corpus tells a vocabulary whose scores were mixed up."""
    write(tmp_path / "c", sentencepiece_tokenizer(added=[reset()])[0])
    out, metadata = result(tmp_path / "c")
    header = read_header(out)
    raw = bytearray(out.read_bytes())
    start = header.places["tokenizer.ggml.scores"] + 8
    scores = metadata["tokenizer.ggml.scores"]
    raw[start : start + 4 * len(scores)] = struct.pack(f"<{len(scores)}f", *(-s for s in scores))
    out.write_bytes(raw)
    assert "tokenizer" in [check.name for check in verify(out, tmp_path / "c") if check.verdict == "fail"]
