import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.verify import verify
from tests.convert.small_model import write_checkpoint

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split(pattern):
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, BYTES | {"use_regex": False}]}


@pytest.fixture
def changed(tmp_path):
    """Convert a checkpoint after its tokenizer.json (or another file of it) was changed."""

    def convert_changed(change, name="tokenizer.json"):
        write_checkpoint(tmp_path / "c")
        path = tmp_path / "c" / name
        value = json.loads(path.read_text()) if path.exists() else {}
        change(value)
        path.write_text(json.dumps(value))
        convert(tmp_path / "c", tmp_path / "out.gguf", force=True)
        return read_header(tmp_path / "out.gguf").metadata

    return convert_changed


@pytest.mark.parametrize(
    ("name", "pre_tokenizer", "ignore_merges"),
    [
        ("gpt-2", BYTES, False),
        ("llama-bpe", split(LLAMA3), True),
        ("qwen2", split(LLAMA3.replace("{1,3}", "")), False),
    ],
)
def test_pre_tokenizers_are_known_by_structure_and_agree_with_llama(
    changed, tmp_path, name, pre_tokenizer, ignore_merges
):
    def change(tokenizer):
        tokenizer["pre_tokenizer"] = pre_tokenizer
        tokenizer["model"]["ignore_merges"] = ignore_merges

    assert changed(change)["tokenizer.ggml.pre"] == name
    check = next(c for c in verify(tmp_path / "out.gguf", tmp_path / "c") if c.name == "tokenizer")
    assert check.verdict == "pass", check.detail


@pytest.mark.parametrize(
    ("pre_tokenizer", "ignore_merges", "why"),
    [
        (None, False, "not known; known are gpt-2, llama-bpe, qwen2, smollm"),
        ({"type": "Whitespace"}, False, "not known"),
        (BYTES | {"add_prefix_space": True}, False, "not known"),
        (split(r"\s+"), False, "not known"),
        (BYTES, True, "ignore_merges is not"),
    ],
)
def test_an_unknown_pre_tokenizer_is_refused(changed, pre_tokenizer, ignore_merges, why):
    def change(tokenizer):
        tokenizer["pre_tokenizer"] = pre_tokenizer
        tokenizer["model"]["ignore_merges"] = ignore_merges

    with pytest.raises(TakebackError, match=why):
        changed(change)


def model(**values):
    return lambda tokenizer: tokenizer["model"].update(values)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (model(type="Unigram"), "a Unigram tokenizer cannot be converted"),
        (model(byte_fallback=True), "not a token for each byte"),
        (model(end_of_word_suffix="</w>"), "end_of_word_suffix is set"),
        (model(vocab={"a": 0, "b": 0}), "have one id"),
        (model(vocab={"a": "x"}), "no table"),
        (model(vocab={"a": 1 << 23}), "only 320 rows"),
        (model(merges=["a b c"]), "is not two tokens"),
        (model(merges=[["a", "no such token"]]), "is not two tokens"),
        (model(merges=[["a", "nosuchtoken"]]), "tokens that are not there"),
        (model(merges=None), "merges are no list"),
        (lambda tokenizer: tokenizer.update(normalizer={"type": "NFKC"}), "normalizer is not"),
        (
            lambda tokenizer: tokenizer.update(added_tokens=[{"id": 301, "content": "a", "special": True}]),
            "two ids",
        ),
        (lambda tokenizer: tokenizer.update(added_tokens=[{"id": -1, "content": "a"}]), "no id or no text"),
        (lambda tokenizer: tokenizer.update(model=None), "has no model"),
    ],
)
def test_a_tokenizer_that_cannot_be_converted_is_refused(changed, change, why):
    with pytest.raises(TakebackError, match=why):
        changed(change)


def test_several_ends_become_ends_of_a_turn_and_of_a_message(changed):
    values = changed(lambda value: value.update(eos_token_id=[2, 0]), "generation_config.json")
    assert (values["tokenizer.ggml.eos_token_id"], values["tokenizer.ggml.eot_token_id"]) == (2, 0)


def test_a_reset_token_among_the_ends_is_refused(changed):
    with pytest.raises(TakebackError, match=r"\[RESET\] is also tokenizer.ggml.eot_token_id"):
        changed(lambda value: value.update(eos_token_id=[2, 300]), "generation_config.json")


@pytest.mark.parametrize(
    "given",
    [
        "{{ 1 }}\r\n ",
        [{"name": [], "template": "x"}, {"name": "default", "template": "{{ 1 }}\r\n "}],
    ],
)
def test_a_template_in_the_settings_is_used_when_there_is_no_file(tmp_path, given):
    write_checkpoint(tmp_path / "c")
    (tmp_path / "c" / "chat_template.jinja").unlink()
    settings = tmp_path / "c" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": given}))
    convert(tmp_path / "c", tmp_path / "out.gguf")
    assert read_header(tmp_path / "out.gguf").metadata["tokenizer.chat_template"] == "{{ 1 }}\r\n "


def test_settings_that_contradict_the_tokenizer_are_refused(changed):
    entry = {"300": {"content": "[OTHER]", "special": True}}
    with pytest.raises(TakebackError, match="the token 300 is not what"):
        changed(lambda value: value.update(added_tokens_decoder=entry), "tokenizer_config.json")


@pytest.mark.parametrize("settings", [{"chat_template": "{{ 1 }}\ud800"}, {"eos_token": "<|im_end|>"}])
def test_half_a_character_is_refused(tmp_path, settings):
    write_checkpoint(tmp_path / "c")
    (tmp_path / "c" / "chat_template.jinja").unlink()
    (tmp_path / "c" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"} | settings))
    if "chat_template" not in settings:
        tokenizer = json.loads((tmp_path / "c" / "tokenizer.json").read_text())
        tokenizer["added_tokens"].append({"id": 301, "content": "a\ud800", "special": True})
        (tmp_path / "c" / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(TakebackError, match="half a character"):
        convert(tmp_path / "c", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_an_id_of_thousands_of_digits_is_passed_over(changed):
    settings = {"added_tokens_decoder": {"1" * 5000: {"content": "x"}}}
    assert changed(lambda value: value.update(settings), "tokenizer_config.json")["tokenizer.ggml.tokens"]


def test_a_beginning_of_text_is_written_if_the_tokenizer_puts_one(changed):
    single = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    post = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}
    assert changed(lambda value: value.update(post_processor=post))["tokenizer.ggml.add_bos_token"] is True
    assert changed(lambda value: value.update(post_processor=None))["tokenizer.ggml.add_bos_token"] is False


def test_a_whole_alphabet_is_read_from_tokenizers_itself(tmp_path):
    """A vocabulary saved by the tokenizers library of today, with a token that is added but not special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("<|im_end|>", special=True), AddedToken("<tool>", special=False)])
    write_checkpoint(tmp_path / "c")
    (tmp_path / "c" / "tokenizer.json").write_text(tokenizer.to_str())
    (tmp_path / "c" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    convert(tmp_path / "c", tmp_path / "out.gguf")
    values = read_header(tmp_path / "out.gguf").metadata
    assert values["tokenizer.ggml.token_type"][255:259] == (1, 3, 4, 5)
    assert values["tokenizer.ggml.bos_token_id"] == 1  # config.json's, since the settings name none
    check = next(c for c in verify(tmp_path / "out.gguf", tmp_path / "c") if c.name == "tokenizer")
    assert check.verdict == "pass", check.detail
