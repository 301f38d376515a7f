"""Adapters: the merge against a dense reference, on a folder and a GGUF file, and what is refused by name."""

import json
import math

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.reset_token import read_contract
from convert.verify import verify
from tests.convert.small_model import (
    HIDDEN,
    from_bf16,
    llama_tensors,
    numbers,
    safetensors_bytes,
    to_bf16,
    write_adapter,
    write_checkpoint,
    write_record,
)
from tests.convert.test_convert import in_llama_order, values


def dense(adapter_tensors, scale, *, layers=2):
    """GGUF name → the merged weight, with every matrix multiplied out."""
    base = {name: from_bf16(array) for name, array in llama_tensors(300, tied=False, bf16=True).items()}
    merged = {}
    for i in range(layers):
        for theirs, ours in (
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("mlp.down_proj", "ffn_down"),
        ):
            name = f"model.layers.{i}.{theirs}"
            a = from_bf16(adapter_tensors[f"base_model.model.{name}.lora_A.weight"]).astype(np.float64)
            b = from_bf16(adapter_tensors[f"base_model.model.{name}.lora_B.weight"]).astype(np.float64)
            weight = base[name + ".weight"] + scale * b @ a
            merged[f"blk.{i}.{ours}.weight"] = in_llama_order(weight) if ours != "ffn_down" else weight
    return merged


@pytest.fixture(scope="session")
def gguf_base(tmp_path_factory, plain_base):
    out = tmp_path_factory.mktemp("gguf") / "base.gguf"
    convert(plain_base, out, type="bf16")
    return out


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_the_merge_is_the_dense_one(tmp_path, plain_base, gguf_base, adapter, kind):
    source = plain_base if kind == "folder" else gguf_base
    out = tmp_path / "out.gguf"
    report = convert(source, out, adapter=adapter, type="f32")
    tensors = write_adapter(tmp_path / "again", 300, untied=True)
    found = values(out)
    for name, weight in dense(tensors, 2.0).items():
        assert np.allclose(found[name], weight, rtol=0, atol=1e-6), name
    row = from_bf16(tensors["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"])
    head = from_bf16(tensors["base_model.model.lm_head.token_adapter.trainable_tokens_delta"])
    assert np.array_equal(found["token_embd.weight"][300], row[0])
    assert np.array_equal(found["output.weight"][300], head[0])
    header = read_header(out)
    assert header.metadata["tokenizer.ggml.tokens"][300] == "[RESET]"
    assert header.metadata["tokenizer.ggml.token_type"][300] == 3
    assert header.metadata["llama.vocab_size"] == 301
    assert report.contract == read_contract(header)[0]
    assert not [check for check in verify(out, source, adapter) if check.verdict == "fail"]


def test_a_folder_and_its_gguf_give_the_same_file(tmp_path, plain_base, gguf_base, adapter):
    convert(plain_base, tmp_path / "a.gguf", adapter=adapter, type="q8_0")
    convert(gguf_base, tmp_path / "b.gguf", adapter=adapter, type="q8_0")
    one, other = values(tmp_path / "a.gguf"), values(tmp_path / "b.gguf")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_quantized_merge(tmp_path, gguf_base, adapter):
    convert(gguf_base, tmp_path / "out.gguf", adapter=adapter, type="q4_k_m")
    assert not [
        check for check in verify(tmp_path / "out.gguf", gguf_base, adapter) if check.verdict == "fail"
    ]


def test_rank_stabilized_scale(tmp_path, plain_base):
    tensors = write_adapter(tmp_path / "a", 300, untied=True, config={"use_rslora": True})
    convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32")
    found = values(tmp_path / "out.gguf")
    for name, weight in dense(tensors, 16 / math.sqrt(8)).items():
        assert np.allclose(found[name], weight, rtol=0, atol=1e-6), name


def test_a_new_row_may_begin_a_piece(tmp_path, monkeypatch, plain_base, adapter):
    monkeypatch.setattr("convert.merge._CHUNK_ELEMENTS", 300 * HIDDEN)
    convert(plain_base, tmp_path / "out.gguf", adapter=adapter, type="f32")
    assert values(tmp_path / "out.gguf")["token_embd.weight"].shape == (301, HIDDEN)


def write_resized(folder, rows):
    """An adapter that brings the whole embedding and the whole head, of so many rows."""
    resized = to_bf16(numbers(400, rows, HIDDEN))
    extra = {f"base_model.model.{name}.weight": resized for name in ("model.embed_tokens", "lm_head")}
    config = {"modules_to_save": ["embed_tokens", "lm_head"], "trainable_token_indices": None}
    tensors = write_adapter(folder, 300, config=config, extra=extra)
    del tensors["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))


def test_an_embedding_without_a_row_for_each_token_is_refused(tmp_path, gguf_base):
    write_resized(tmp_path / "a", 299)
    with pytest.raises(TakebackError, match="300 tokens, and the embedding 299 rows"):
        convert(gguf_base, tmp_path / "out.gguf", adapter=tmp_path / "a")


def test_a_resized_embedding_names_its_new_row(tmp_path, plain_base, gguf_base):
    write_resized(tmp_path / "a", 301)
    write_record(tmp_path / "a")
    for source in (gguf_base, plain_base):
        report = convert(source, tmp_path / "out.gguf", adapter=tmp_path / "a", force=True)
        assert report.contract.token_id == 300
        assert len(read_header(tmp_path / "out.gguf").metadata["tokenizer.ggml.tokens"]) == 301


def test_whole_modules_replace_the_base(tmp_path, plain_base):
    norm = to_bf16(numbers(400, HIDDEN))
    extra = {"base_model.model.model.norm.weight": norm}
    write_adapter(tmp_path / "a", 300, untied=True, config={"modules_to_save": ["norm"]}, extra=extra)
    convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32")
    assert np.array_equal(values(tmp_path / "out.gguf")["output_norm.weight"], from_bf16(norm))


def test_a_whole_module_is_moved_over_a_gguf_base_too(tmp_path, plain_base, gguf_base):
    name = "model.layers.0.self_attn.q_proj.weight"
    query = to_bf16(numbers(401, HIDDEN, HIDDEN))
    tensors = write_adapter(tmp_path / "a", 300, untied=True, config={"modules_to_save": ["q_proj"]})
    start = "base_model.model." + name.removesuffix("weight")
    kept = {key: array for key, array in tensors.items() if not key.startswith(start)}
    given = safetensors_bytes(kept | {f"base_model.model.{name}": query})
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(given)
    for source in (plain_base, gguf_base):
        convert(source, tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32", force=True)
        found = values(tmp_path / "out.gguf")["blk.0.attn_q.weight"]
        assert np.array_equal(found, in_llama_order(from_bf16(query)))
        checks = verify(tmp_path / "out.gguf", source, tmp_path / "a")
        assert not [check for check in checks if check.verdict == "fail"]


def test_an_embedding_s_change_is_stored_the_other_way_round(tmp_path, plain_base):
    a, b = to_bf16(numbers(500, 8, 300)), to_bf16(numbers(501, HIDDEN, 8))
    start = "base_model.model.model.embed_tokens.lora_embedding_"
    write_adapter(tmp_path / "a", 300, untied=True, extra={start + "A": a, start + "B": b})
    convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32")
    base = from_bf16(llama_tensors(300, tied=False, bf16=True)["model.embed_tokens.weight"])
    expected = base + 2.0 * (from_bf16(b) @ from_bf16(a)).T
    assert np.allclose(values(tmp_path / "out.gguf")["token_embd.weight"][:300], expected, atol=1e-6)


def test_the_adapter_s_own_tokenizer_names_the_token(tmp_path, plain_base, adapter):
    """With a row for a token that only the adapter's tokenizer.json knows by name."""
    write_checkpoint(tmp_path / "with", reset=True)
    tensors = write_adapter(tmp_path / "a", 300, untied=True)
    assert tensors
    (tmp_path / "a" / "tokenizer.json").write_bytes((tmp_path / "with" / "tokenizer.json").read_bytes())
    (tmp_path / "a" / "tokenizer_config.json").write_bytes(
        (tmp_path / "with" / "tokenizer_config.json").read_bytes()
    )
    report = convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a")
    assert report.contract.token_id == 300
    assert "tokenizer.chat_template" in read_header(tmp_path / "out.gguf").metadata


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"use_dora": True}, "use_dora is not what the change of"),
        ({"alpha_pattern": {"q_proj": "x"}}, "alpha_pattern is no usable number"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern is no table"),
        ({"alpha_pattern": {"(": 1}}, r"\( is no regular expression"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "is too complex"),
        ({"rank_pattern": {"q_proj": 4}}, "q_proj.weight has rank 8"),
        ({"layer_replication": [[0, 2], [0, 2]]}, "layer_replication"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({"something_new": 1}, "something_new"),
        ({"peft_type": "IA3"}, "peft_type is IA3"),
        ({"r": 4}, "has rank 8"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"modules_to_save": ["lm_head"]}, "holds no tensor of lm_head"),
        ({"trainable_token_indices": {"embed_tokens": [300, 301]}}, "do not fit trainable_token_indices"),
        (
            {"trainable_token_indices": {"embed_tokens": [305], "lm_head": [305]}},
            "do not follow on the base's 300",
        ),
        ({"trainable_token_indices": {"embed_tokens": [-1]}}, "no list of token ids"),
    ],
)
def test_what_cannot_be_merged_rightly_is_refused(tmp_path, plain_base, config, why):
    write_adapter(tmp_path / "a", 300, untied=True, config=config)
    with pytest.raises(TakebackError, match=why):
        convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a")


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (
            {"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector": numbers(1, 256)},
            "use_dora is not what",
        ),
        ({"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias": numbers(1, 256)}, "of a kind"),
        ({"model.norm.weight": numbers(1, HIDDEN)}, "not named as PEFT"),
        (
            {"base_model.model.model.layers.9.mlp.up_proj.weight": numbers(1, 8, 8)},
            "which the model does not have",
        ),
        ({"base_model.model.model.other.lora_A.weight": numbers(1, 8, 8)}, "not one A and one B"),
    ],
)
def test_tensors_that_nobody_knows_are_refused(tmp_path, plain_base, extra, why):
    write_adapter(tmp_path / "a", 300, untied=True, extra=extra)
    with pytest.raises(TakebackError, match=why):
        convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a")


def test_a_new_token_needs_a_row_in_both_matrices(tmp_path, plain_base):
    write_adapter(tmp_path / "a", 300, untied=False)
    with pytest.raises(TakebackError, match="needs a row in both"):
        convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a")


def test_a_tied_base_needs_one_row(tmp_path):
    write_checkpoint(tmp_path / "c", tied=True, reset=False, rows=None)
    write_adapter(tmp_path / "a", 300)
    write_record(tmp_path / "a")
    convert(tmp_path / "c", tmp_path / "out.gguf", adapter=tmp_path / "a")
    assert "output.weight" not in values(tmp_path / "out.gguf")
    assert values(tmp_path / "out.gguf")["token_embd.weight"].shape == (301, HIDDEN)


def test_pickle_and_missing_files_are_refused(tmp_path, plain_base):
    write_adapter(tmp_path / "a", 300)
    (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(TakebackError, match="pickle"):
        convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "a")
    with pytest.raises(TakebackError, match="no adapter's folder"):
        convert(plain_base, tmp_path / "out.gguf", adapter=tmp_path / "nothing")


def test_an_id_that_is_taken_is_refused(tmp_path, plain_base, adapter):
    write_checkpoint(tmp_path / "c", tied=False, bf16=True, reset=True, rows=300 + 1)
    write_adapter(tmp_path / "a", 301, untied=True)
    with pytest.raises(TakebackError, match=r"has the token \[RESET\] already"):
        convert(tmp_path / "c", tmp_path / "out.gguf", adapter=tmp_path / "a")
    assert json.loads((adapter / "backtrack.json").read_text())["reset_token_id"] == 300
