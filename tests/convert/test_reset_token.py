import json

import pytest

from convert.errors import TakebackError
from convert.export import write_gguf
from convert.gguf_header import TypedValue, ValueType, read_header
from convert.progress import silent
from convert.reset_token import ResetContract, contract_metadata, load_record, read_contract
from tests.convert.small_model import write_record

SOUND = ResetContract(
    2, "[RESET]", "rewind", -3.25, 24, calibrated=True, method="sft", source_sha256="a" * 64
)
VOCABULARY = {
    "tokenizer.ggml.tokens": TypedValue(ValueType.ARRAY, ("a", "<|im_end|>", "[RESET]"), ValueType.STRING),
    "tokenizer.ggml.token_type": TypedValue(ValueType.ARRAY, (1, 3, 3), ValueType.INT32),
    "tokenizer.ggml.eos_token_id": TypedValue(ValueType.UINT32, 1),
}


@pytest.fixture
def read(tmp_path):
    def contract(values, reset_token=None):
        write_gguf(tmp_path / "x.gguf", values, [], lambda tensor, raw: None, silent)
        return read_contract(read_header(tmp_path / "x.gguf"), reset_token)

    return contract


def test_a_contract_is_read_as_it_was_written(read):
    assert read(VOCABULARY | contract_metadata(SOUND)) == (SOUND, None)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("backtrack.schema_version", TypedValue(ValueType.UINT32, 2), "schema_version is 2"),
        ("backtrack.reset_token_id", TypedValue(ValueType.UINT32, 3), "outside the vocabulary"),
        (
            "backtrack.reset_token_id",
            TypedValue(ValueType.BOOL, data=True),
            "reset_token_id is missing or no int",
        ),
        ("backtrack.reset_token_id", TypedValue(ValueType.UINT32, 1), "is '<|im_end|>', and not"),
        ("backtrack.after_reset", TypedValue(ValueType.STRING, "forget"), "after_reset is 'forget'"),
        ("backtrack.reset_bias", TypedValue(ValueType.FLOAT32, float("nan")), "reset_bias is nan"),
        ("backtrack.reset_bias", TypedValue(ValueType.FLOAT32, 31.0), "reset_bias is 31"),
        ("backtrack.hold_back", TypedValue(ValueType.UINT32, 1025), "hold_back is 1025"),
        ("backtrack.method", TypedValue(ValueType.STRING, "magic"), "method is 'magic'"),
        ("backtrack.source_sha256", TypedValue(ValueType.STRING, "x" * 64), "SHA-256"),
        ("tokenizer.ggml.token_type", TypedValue(ValueType.ARRAY, (1, 3, 1), ValueType.INT32), "not CONTROL"),
        ("tokenizer.ggml.eot_token_id", TypedValue(ValueType.UINT32, 2), "which ends the reply"),
        ("tokenizer.ggml.fim_pad_token_id", TypedValue(ValueType.UINT32, 2), "which ends the reply"),
    ],
)
def test_impossible_keys_make_an_ordinary_model(read, key, value, why):
    contract, note = read(VOCABULARY | contract_metadata(SOUND) | {key: value})
    assert contract is None
    assert why in note
    assert "\n" not in note


def test_a_file_without_keys_is_known_by_its_token(read):
    contract, note = read(VOCABULARY)
    assert contract == ResetContract(2, "[RESET]", "keep", 0.0, 32, calibrated=False, method="unknown")
    assert "not calibrated" in note


def test_a_named_token(read):
    contract, _ = read(VOCABULARY | contract_metadata(SOUND), "[RESET]")
    assert contract == SOUND
    contract, note = read(VOCABULARY | contract_metadata(SOUND), "a")
    assert contract is None
    assert "no control token a" in note
    contract, note = read(VOCABULARY, "<|im_end|>")
    assert contract is None
    assert "ends the reply" in note


def test_an_ordinary_model_needs_no_note(read):
    assert read({"general.name": TypedValue(ValueType.STRING, "x")}) == (None, None)


def test_a_record_is_read(tmp_path):
    assert load_record(tmp_path) is None
    write_record(tmp_path, reset_token_id=300)
    record = load_record(tmp_path)
    assert (record.reset_token, record.reset_token_id, record.after_reset) == ("[RESET]", 300, "rewind")
    assert (record.reset_bias, record.hold_back, record.calibrated_type) == (-3.25, 24, "q8_0")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"reset_bias": "x"}, "reset_bias is not of type"),
        ({"reset_bias": 10**400}, "reset_bias is inf"),
        ({"hold_back": True}, "hold_back is not of type"),
        ({"after_reset": "x"}, "after_reset"),
        ({"reset_token": ""}, "reset_token is empty"),
        ({"reset_token": "a\u202eb"}, "no token should"),
    ],
)
def test_a_wrong_record_is_refused(tmp_path, changes, why):
    write_record(tmp_path, **changes)
    with pytest.raises(TakebackError, match=why):
        load_record(tmp_path)


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", json.dumps("x").encode()])
def test_a_record_that_is_no_json_object_is_refused(tmp_path, raw):
    (tmp_path / "backtrack.json").write_bytes(raw)
    with pytest.raises(TakebackError, match=r"backtrack\.json: not"):
        load_record(tmp_path)
