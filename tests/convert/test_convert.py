"""Conversion: values, types, names, and what must be refused."""

import hashlib

import numpy as np
import pytest

from convert import numbers
from convert.checkpoint import open_checkpoint
from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import GGML_TYPES, read_header
from convert.reset_token import read_contract
from tests.convert.small_model import (
    HEAD_DIM,
    TEMPLATE,
    from_bf16,
    to_bf16,
    write_checkpoint,
    write_record,
)


def values(path):
    with open_checkpoint(path) as opened:
        return {name: tensor.values() for name, tensor in opened.tensors.items()}


def in_llama_order(weight):
    """One head after the other, rows 0, half, 1, half + 1, …: written out, unlike the code under test."""
    rows = []
    for head in range(len(weight) // HEAD_DIM):
        for i in range(HEAD_DIM // 2):
            rows += [weight[head * HEAD_DIM + i], weight[head * HEAD_DIM + HEAD_DIM // 2 + i]]
    return np.array(rows)


def test_every_tensor_arrives(converted, checkpoint):
    theirs, ours = values(checkpoint), values(converted)
    assert len(ours) == len(theirs)
    same = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.1.attn_v.weight": "model.layers.1.self_attn.v_proj.weight",
        "blk.1.attn_output.weight": "model.layers.1.self_attn.o_proj.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight",
    }
    for name, source in same.items():
        assert np.array_equal(ours[name], theirs[source]), name
    for name in ("q", "k"):
        weight = theirs[f"model.layers.1.self_attn.{name}_proj.weight"]
        assert np.array_equal(ours[f"blk.1.attn_{name}.weight"], in_llama_order(weight))


def test_the_vocabulary_and_the_contract(converted, checkpoint):
    header = read_header(converted)
    tokens, types = header.metadata["tokenizer.ggml.tokens"], header.metadata["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == 320
    assert (tokens[300], types[300]) == ("[RESET]", 3)
    assert (tokens[301], types[301], tokens[319]) == ("[PAD301]", 5, "[PAD319]")
    assert types[0:4] == (3, 3, 3, 1)
    assert header.metadata["tokenizer.ggml.pre"] == "smollm"
    assert header.metadata["tokenizer.chat_template"] == TEMPLATE
    keys = {
        role: header.metadata[f"tokenizer.ggml.{role}_token_id"]
        for role in ("bos", "eos", "unknown", "padding")
    }
    assert keys == {"bos": 1, "eos": 2, "unknown": 0, "padding": 2}
    contract, note = read_contract(header)
    assert note is None
    assert (contract.token_id, contract.after_reset, contract.reset_bias, contract.hold_back) == (
        300,
        "rewind",
        -3.25,
        24,
    )
    assert not contract.calibrated  # it was measured on q8_0, and this is f32
    row = values(checkpoint)["model.embed_tokens.weight"][300]
    assert contract.reset_row_sha256 == hashlib.sha256(row.tobytes()).hexdigest()


def test_the_source_hash_is_over_sorted_lines(converted, checkpoint):
    lines = []
    with open_checkpoint(checkpoint) as opened:
        for name, tensor in sorted(opened.tensors.items()):
            digest = hashlib.sha256(tensor.read(0, tensor.rows).tobytes()).hexdigest()
            lines.append(f"{name} F32 {'x'.join(map(str, tensor.shape))} {digest}\n")
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert read_contract(read_header(converted))[0].source_sha256 == expected


@pytest.mark.parametrize(
    ("file_type", "tensor_type", "relative"),
    [
        ("f16", "f16", 6e-4),
        ("bf16", "bf16", 4e-3),
        ("q8_0", "q8_0", 8e-3),
        ("q6_k", "q6_k", 0.03),
        ("q4_k_m", "q4_k", 0.12),
    ],
)
def test_types(tmp_path, checkpoint, converted, file_type, tensor_type, relative):
    report = convert(checkpoint, tmp_path / "out.gguf", type=file_type)
    header = read_header(tmp_path / "out.gguf")
    types = {tensor.name: GGML_TYPES[tensor.ggml_type][0] for tensor in header.tensors}
    assert types["blk.0.attn_q.weight"] == tensor_type
    assert types["blk.0.attn_norm.weight"] == "f32"
    assert types["token_embd.weight"] == ("q8_0" if file_type.startswith("q") else tensor_type)
    assert report.contract.calibrated == (file_type == "q8_0")
    assert read_contract(header)[0].hold_back == report.contract.hold_back == 24
    exact, found = values(converted), values(tmp_path / "out.gguf")
    for name, weight in exact.items():
        error = np.sqrt(np.mean((found[name] - weight) ** 2) / np.mean(weight**2))
        assert error <= relative, name
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_the_embedding_is_protected_only_if_asked(tmp_path, checkpoint):
    convert(checkpoint, tmp_path / "out.gguf", type="q4_k_m", protect_reset=None)
    embedding = next(t for t in read_header(tmp_path / "out.gguf").tensors if t.name == "token_embd.weight")
    assert GGML_TYPES[embedding.ggml_type][0] == "q6_k"
    convert(checkpoint, tmp_path / "out.gguf", type="q8_0", protect_reset="f16", force=True)
    embedding = next(t for t in read_header(tmp_path / "out.gguf").tensors if t.name == "token_embd.weight")
    assert GGML_TYPES[embedding.ggml_type][0] == "f16"


def test_bfloat16_is_copied_byte_for_byte(tmp_path, plain_base):
    convert(plain_base, tmp_path / "out.gguf")
    with open_checkpoint(plain_base) as theirs, open_checkpoint(tmp_path / "out.gguf") as ours:
        for name, source in (
            ("output.weight", "lm_head.weight"),
            ("token_embd.weight", "model.embed_tokens.weight"),
        ):
            assert np.array_equal(ours.tensors[name].read(0, 300), theirs.tensors[source].read(0, 300))


@pytest.mark.parametrize("flag", [True, False])
def test_tensors_and_not_flags_decide_whether_the_head_is_tied(tmp_path, flag):
    """Three checkpoints under either flag: no head, a head that is the embedding again, another head."""
    from tests.convert.small_model import llama_tensors, safetensors_bytes

    tensors = write_checkpoint(tmp_path / "c", tied=flag)
    config = (tmp_path / "c" / "config.json").read_text().replace(str(not flag).lower(), str(flag).lower())
    (tmp_path / "c" / "config.json").write_text(config)
    tensors = llama_tensors(320, tied=True)
    embedding = tensors["model.embed_tokens.weight"]
    for head, expected in ((None, False), (embedding, False), (embedding + 1, True)):
        given = tensors if head is None else tensors | {"lm_head.weight": head}
        (tmp_path / "c" / "model.safetensors").write_bytes(safetensors_bytes(given))
        convert(tmp_path / "c", tmp_path / "out.gguf", type="f32", force=True)
        assert ("output.weight" in values(tmp_path / "out.gguf")) == expected


def test_a_gguf_source_keeps_its_metadata(tmp_path, converted):
    convert(converted, tmp_path / "out.gguf", type="f32")
    before, after = read_header(converted), read_header(tmp_path / "out.gguf")
    changed = {key for key in after.metadata if before.metadata.get(key) != after.metadata[key]}
    assert changed == {"backtrack.source_sha256"}
    assert after.typed.keys() == before.typed.keys()
    assert all(
        np.array_equal(a, b)
        for a, b in zip(values(converted).values(), values(tmp_path / "out.gguf").values(), strict=True)
    )


def test_only_the_measured_file_is_calibrated(tmp_path):
    """The record names the file by its hashes; a record from before that, by its type."""
    write_checkpoint(tmp_path / "c")
    write_record(tmp_path / "c", calibrated_type="f16")
    report = convert(tmp_path / "c", tmp_path / "out.gguf", type="f16")
    assert report.contract.calibrated
    hashes = {
        "calibrated_source_sha256": report.contract.source_sha256,
        "calibrated_reset_row_sha256": report.contract.reset_row_sha256,
    }
    for changes, calibrated in (({}, True), *(({name: "0" * 64}, False) for name in hashes)):
        write_record(tmp_path / "c", calibrated_type="f16", **(hashes | changes))
        report = convert(tmp_path / "c", tmp_path / "out.gguf", type="f16", force=True)
        assert read_contract(read_header(tmp_path / "out.gguf"))[0] == report.contract
        assert report.contract.calibrated == calibrated == (not report.notes)
    write_record(tmp_path / "c", calibrated_type="f16", **hashes)
    report = convert(tmp_path / "c", tmp_path / "out.gguf", type="f16", after_reset="keep", force=True)
    assert not report.contract.calibrated
    assert "measured with rewind" in report.notes[0]


def test_a_reset_token_that_is_not_special_becomes_control(tmp_path):
    write_checkpoint(tmp_path / "c", reset_special=False)
    report = convert(tmp_path / "c", tmp_path / "out.gguf", after_reset="rewind")
    assert read_header(tmp_path / "out.gguf").metadata["tokenizer.ggml.token_type"][300] == 3
    assert report.contract.after_reset == "rewind"
    assert "backtrack.json" in report.notes[0]


def test_an_ordinary_model_is_converted_with_a_note(tmp_path, plain_base):
    report = convert(plain_base, tmp_path / "out.gguf")
    assert report.contract is None
    assert "cannot take back" in report.notes[0]
    assert not [key for key in read_header(tmp_path / "out.gguf").metadata if key.startswith("backtrack")]


def test_progress_is_told_in_bytes(tmp_path, checkpoint):
    steps = []
    convert(checkpoint, tmp_path / "out.gguf", type="q4_k_m", progress=lambda *step: steps.append(step))
    kinds = [what for what, _, _ in steps]
    assert set(kinds) == {"writing", "quantizing"}
    assert kinds == sorted(kinds, reverse=True)
    last = [step for step in steps if step[0] == "writing"][-1]
    assert last[1] <= last[2] == sum(tensor.nbytes for tensor in read_header_of_source(checkpoint))
    assert steps[-1][1] == steps[-1][2]


def read_header_of_source(checkpoint):
    with open_checkpoint(checkpoint) as opened:
        return list(opened.tensors.values())


@pytest.mark.parametrize("file_type", ["bf16", "q4_k_m"])
def test_an_existing_file_stays_unless_force(tmp_path, checkpoint, file_type):
    out = tmp_path / "out.gguf"
    out.write_bytes(b"mine")
    with pytest.raises(TakebackError, match="exists already"):
        convert(checkpoint, out, type=file_type)
    assert out.read_bytes() == b"mine"
    convert(checkpoint, out, type=file_type, force=True)
    assert out.read_bytes()[:4] == b"GGUF"


@pytest.mark.parametrize("file_type", ["bf16", "q4_k_m"])
def test_an_interrupted_conversion_leaves_nothing(tmp_path, checkpoint, file_type):
    def interrupt(what, done, total):
        if what == ("writing" if file_type == "bf16" else "quantizing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(checkpoint, tmp_path / "out.gguf", type=file_type, progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"type": "q9"}, "type q9 is not known"),
        ({"protect_reset": "q2_k"}, "nothing can be protected with q2_k"),
        ({"protect_reset": "q4_k"}, "nothing can be protected with q4_k"),
        ({"after_reset": "forget"}, "after_reset is 'forget'"),
        ({"reset_token": "[NOTHING]"}, r"no special token \[NOTHING\]"),
        ({"reset_token": "<|im_end|>"}, "would end the reply"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, checkpoint, arguments, why):
    with pytest.raises(TakebackError, match=why):
        convert(checkpoint, tmp_path / "out.gguf", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_cut_off_source_are_refused(tmp_path):
    write_checkpoint(tmp_path / "c")
    with pytest.raises(TakebackError, match="no such folder"):
        convert(tmp_path / "c", tmp_path / "nowhere" / "out.gguf")
    with (tmp_path / "c" / "model.safetensors").open("rb+") as file:
        file.truncate(100_000)
    with pytest.raises(TakebackError, match="should be"):
        convert(tmp_path / "c", tmp_path / "out.gguf")


def test_a_record_that_contradicts_the_vocabulary_is_refused(tmp_path):
    write_checkpoint(tmp_path / "c")
    write_record(tmp_path / "c", reset_token_id=299)
    with pytest.raises(TakebackError, match="reset_token_id is 299"):
        convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("LlamaForCausalLM", "SomethingForCausalLM", "known: .*LlamaForCausalLM"),
        ('"num_hidden_layers": 2', '"num_hidden_layers": 3', r"lacks model\.layers\.2"),
        ('"num_hidden_layers": 2', '"num_hidden_layers": 1', r"has the tensor model\.layers\.1"),
        ('"default"', '"yarn"', "rope type 'yarn'"),
        ('"silu"', '"gelu"', "hidden_act"),
        ('"hidden_size": 256', '"hidden_size": "x"', "hidden_size"),
        ('"rms_norm_eps": 1e-05', '"rms_norm_eps": 1e300', "rms_norm_eps"),
        pytest.param('"rms_norm_eps": 1e-05', f'"rms_norm_eps": {10**400}', "rms_norm_eps", id="huge"),
    ],
)
def test_a_config_that_cannot_be_converted_is_refused(tmp_path, old, new, why):
    write_checkpoint(tmp_path / "c")
    config = tmp_path / "c" / "config.json"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(TakebackError, match=why):
        convert(tmp_path / "c", tmp_path / "out.gguf")


def test_numbers_survive_their_types():
    """Encoding equals the gguf package's, which is ggml's reference, bit for bit."""
    from gguf import GGMLQuantizationType, quants

    rng = np.random.default_rng(0)
    sample = np.concatenate([rng.normal(size=(64, 64)), rng.normal(size=(8, 64)) * 1e-6, np.zeros((1, 64))])
    sample = sample.astype(np.float32)
    sample[0, :4] = (0.5, -0.5, 127, -127)
    for name in ("f16", "bf16", "q8_0"):
        kind = GGMLQuantizationType(numbers.ENCODABLE[name])
        stored = numbers.encode(sample, kind)
        assert np.array_equal(stored, quants.quantize(sample, kind).view(np.uint8)), name
        assert np.array_equal(
            numbers.decode(stored, kind), quants.dequantize(stored, kind).reshape(sample.shape)
        )
    q4_1 = quants.quantize(sample, GGMLQuantizationType.Q4_1)
    expected = quants.dequantize(q4_1, GGMLQuantizationType.Q4_1)
    assert np.array_equal(numbers.decode(q4_1, numbers.Q4_1), expected)
    special = np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    back = numbers.decode(numbers.encode(special, numbers.BF16), numbers.BF16)
    assert np.array_equal(back, special, equal_nan=True)
    assert np.array_equal(from_bf16(to_bf16(sample)), numbers.decode(numbers.encode(sample, 30), 30))


def test_no_rows_have_the_width_of_rows():
    for ggml_type, width in ((numbers.F32, 1024), (numbers.Q8_0, 272), (numbers.Q4_1, 160)):
        assert numbers.decode(np.zeros((0, width), np.uint8), ggml_type).shape == (0, 256)


def test_a_number_too_large_for_f16_is_refused():
    with pytest.raises(TakebackError, match="--type bf16"):
        numbers.encode(np.array([[70000.0]], np.float32), numbers.F16)
