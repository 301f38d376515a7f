"""What is at fault stays one clear line: odd paths, and files that say of themselves what cannot be."""

import json
import shutil

import numpy as np
import pytest

from assistant.cli import main
from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType, read_header
from convert.verify import verify
from convert.whole_file import write_text
from tests.convert.rewritten import rewritten
from tests.convert.small_model import (
    HIDDEN,
    llama_tensors,
    numbers,
    safetensors_bytes,
    to_bf16,
    write_adapter,
    write_checkpoint,
)
from tests.convert.test_convert import values

LONG = "a" * 300
NUMBER = TypedValue(ValueType.UINT32, 5)


def test_a_folder_in_the_place_of_the_result_is_not_promised_to_be_replaced(tmp_path, checkpoint):
    for force in (False, True):
        with pytest.raises(TakebackError, match="is a folder; name the file to write"):
            convert(checkpoint, tmp_path, force=force)


@pytest.mark.parametrize(
    "name", [LONG, "a" * 245 + ".gguf"]
)  # the second is too long only while it is written
def test_names_that_are_too_long_are_one_line(tmp_path, checkpoint, capsys, name):
    assert main(["convert", str(checkpoint), str(tmp_path / name)]) == 1
    assert "File name too long" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TakebackError, match="File name too long"):
        write_text(tmp_path / name, "text")


def test_a_source_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for given, why in ((LONG, "File name too long"), (str(tmp_path / "file" / "x"), "there is no such")):
        assert main(["convert", given, str(tmp_path / "out.gguf")]) == 1
        assert why in capsys.readouterr().err


def test_a_template_that_is_a_folder_is_one_line(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint, tmp_path / "source")
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").mkdir()
    with pytest.raises(TakebackError, match=r"chat_template\.jinja: cannot be read"):
        convert(folder, tmp_path / "out.gguf")


def test_an_embedding_saved_by_its_long_name_is_not_taken_for_the_head_too(tmp_path, checkpoint):
    whole = to_bf16(numbers(400, 320, HIDDEN))
    config = {"modules_to_save": ["model.embed_tokens"], "trainable_token_indices": None}
    extra = {"base_model.model.model.embed_tokens.weight": whole}
    tensors = write_adapter(tmp_path / "a", 300, config=config, extra=extra)
    del tensors["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    with pytest.raises(TakebackError, match="embed_tokens without lm_head"):
        convert(checkpoint, tmp_path / "out.gguf", adapter=tmp_path / "a")


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_the_embedding_alone_are_the_head_s_only_where_the_two_are_tied(tmp_path, tied):
    write_checkpoint(tmp_path / "c", tied=False)
    tensors = llama_tensors(320, tied=False)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    (tmp_path / "c" / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    (tmp_path / "c" / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
    write_adapter(tmp_path / "a", 300)
    convert(tmp_path / "c", tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32")
    made = values(tmp_path / "out.gguf")
    assert not np.array_equal(made["token_embd.weight"][300], tensors["lm_head.weight"][300])
    assert ("output.weight" in made) != tied
    if not tied:
        assert np.array_equal(made["output.weight"], tensors["lm_head.weight"])


@pytest.mark.parametrize(
    ("changes", "check", "why"),
    [
        ({"llama.block_count": None}, "tensors", "llama.block_count is missing"),
        ({"llama.attention.head_count_kv": NUMBER}, "q and k row order", "128 rows are not 5 heads"),
        ({"tokenizer.ggml.tokens": NUMBER}, "vocabulary", "tokenizer.ggml.tokens is no list"),
        (
            {
                "tokenizer.ggml.model": TypedValue(ValueType.STRING, "llama"),
                "tokenizer.ggml.bos_token_id": None,
            },
            "tokenizer",
            "names no token that begins a text",
        ),
    ],
)
def test_a_file_that_says_what_cannot_be_fails_by_name(tmp_path, converted, checkpoint, changes, check, why):
    file = rewritten(converted, tmp_path / "odd.gguf", changes)
    found = {seen.name: seen.detail for seen in verify(file, checkpoint) if seen.verdict == "fail"}
    assert why in found[check]


def test_a_file_without_an_embedding_fails_by_name(tmp_path, converted):
    file = rewritten(converted, tmp_path / "odd.gguf", {}, without=("token_embd.weight",))
    found = {seen.name: seen.detail for seen in verify(file) if seen.verdict == "fail"}
    assert "has no embedding row of the token" in found["reset row"]


@pytest.mark.slow
def test_no_key_of_a_file_can_end_the_proof_in_a_traceback(tmp_path, converted, checkpoint, monkeypatch):
    """Every key left out, and as another type or value. llama.cpp, in its own process, is left aside."""

    def seen(file, token, corpus):
        known = {"tokens": 1, "corpus": [[1] for _ in corpus], "eog": False, "control": True}
        return known | {"special": [token[0]] if token else [], "plain": [1, 2]}

    monkeypatch.setattr("convert.verify._ask_llama", seen)
    odd = [
        None,
        NUMBER,
        TypedValue(ValueType.UINT32, 4_000_000_000),
        TypedValue(ValueType.FLOAT32, float("nan")),
        TypedValue(ValueType.BOOL, True),
        TypedValue(ValueType.STRING, "llama"),
        TypedValue(ValueType.ARRAY, (), ValueType.STRING),
        TypedValue(ValueType.ARRAY, ("a", "b"), ValueType.STRING),
        TypedValue(ValueType.ARRAY, (1, 2), ValueType.INT32),
    ]
    unknown = tmp_path / "unknown"
    shutil.copytree(checkpoint, unknown)
    config = json.loads((unknown / "config.json").read_text()) | {"architectures": ["OtherForCausalLM"]}
    (unknown / "config.json").write_text(json.dumps(config))
    keys = list(read_header(converted).typed)
    assert len(keys) > 30
    for key in keys:
        for value in odd:
            file = rewritten(converted, tmp_path / "odd.gguf", {key: value})
            for against in (checkpoint, unknown, converted, None):
                assert verify(file, against), (key, value)
