"""Which token is taken as the reset token, and when it is not known."""

import json

import pytest

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.reset_token import read_contract
from tests.convert.small_model import write_adapter, write_checkpoint, write_record


def with_tokens(folder, *texts, special=True):
    """A checkpoint with these tokens added, the first as 300; its embedding has 320 rows."""
    write_checkpoint(folder, reset=False)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    like = tokenizer["added_tokens"][0]
    tokenizer["added_tokens"] += [
        like | {"id": 300 + i, "content": text, "special": special} for i, text in enumerate(texts)
    ]
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(
    "text", ["[RESET]", "<|reset|>", "<RESET_TOKEN>", "[[backtrack]]", "<|take_back|>", "⟲undo"]
)
def test_a_single_added_token_that_looks_like_one(tmp_path, text, special):
    with_tokens(tmp_path / "c", "<|tool|>", text, "<|presets|>", special=special)
    report = convert(tmp_path / "c", tmp_path / "out.gguf")
    assert (report.contract.token, report.contract.token_id) == (text, 301)
    header = read_header(tmp_path / "out.gguf")
    assert header.metadata["tokenizer.ggml.token_type"][301] == 3
    assert read_contract(header)[0] == report.contract
    again = convert(tmp_path / "out.gguf", tmp_path / "again.gguf")
    assert again.contract.token == text


def test_several_are_an_error_that_lists_them(tmp_path):
    with_tokens(tmp_path / "c", "[RESET]", "<|tool|>", "<|rewind|>")
    with pytest.raises(TakebackError, match=r"2 added tokens .*: \[RESET\], <\|rewind\|>; say which"):
        convert(tmp_path / "c", tmp_path / "out.gguf")
    for text in ("<|rewind|>", "<|tool|>"):
        report = convert(tmp_path / "c", tmp_path / "out.gguf", reset_token=text, force=True)
        assert report.contract.token == text
    write_record(tmp_path / "c", reset_token="<|rewind|>")
    assert convert(tmp_path / "c", tmp_path / "out.gguf", force=True).contract.token == "<|rewind|>"
    report = convert(tmp_path / "c", tmp_path / "out.gguf", reset_token="[RESET]", force=True)
    assert report.contract.token == "[RESET]"


def test_the_adapter_s_record_goes_before_the_base_s(tmp_path):
    with_tokens(tmp_path / "c", "[RESET]", "<|undo|>")
    write_record(tmp_path / "c", reset_token="[RESET]")
    write_adapter(tmp_path / "a", 301, config={"trainable_token_indices": {"embed_tokens": [301]}})
    write_record(tmp_path / "a", reset_token="<|undo|>", hold_back=5)
    contract = convert(tmp_path / "c", tmp_path / "out.gguf", adapter=tmp_path / "a").contract
    assert (contract.token, contract.token_id, contract.hold_back) == ("<|undo|>", 301, 5)


def test_none_is_an_ordinary_model_with_a_note(tmp_path):
    with_tokens(tmp_path / "c", "<|tool|>", "<|presets|>")
    report = convert(tmp_path / "c", tmp_path / "out.gguf")
    assert report.contract is None
    assert "--reset-token names one" in report.notes[0]
    with pytest.raises(TakebackError, match=r"no special token \[RESET\]"):
        convert(tmp_path / "c", tmp_path / "out.gguf", reset_token="[RESET]", force=True)
