"""What a backtracking model says about its reset token: the keys in its file, reading and checking them.

On reading, the keys are untrusted: a file that says something impossible runs as an ordinary model, and the
user is told so in one line.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader, TypedValue, ValueType
from convert.untrusted import clean_line
from convert.vocabulary import CONTROL

SCHEMA_VERSION = 1
DEFAULT_TOKEN = "[RESET]"  # noqa: S105 (a token of a vocabulary, no secret)
DEFAULT_HOLD_BACK = 32
MAX_BIAS = 30.0
MAX_HOLD_BACK = 1_024

_T = TypeVar("_T")
_Json: TypeAlias = Any

AfterReset = Literal["rewind", "keep"]
AFTER_RESET = ("rewind", "keep")
METHODS = ("sft", "dpo", "unknown")
RECORD_NAME = "backtrack.json"
_MAX_RECORD_BYTES = 1 << 20
_PREFIX = "backtrack."

END_KEYS = tuple(
    f"tokenizer.ggml.{name}_token_id"
    for name in (
        *("eos", "eot", "eom", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"),
        *("prefix", "suffix", "middle"),  # the older names of fim_pre, fim_suf and fim_mid
    )
)
"""The keys whose token ends a generation, or may; the reset token must be in none of them."""


@dataclass(frozen=True)
class ResetContract:
    """What the engine needs to know about a backtracking model.

    `reset_bias` is added to the reset token's logit; `hold_back` is how many tokens the screen lags behind.
    """

    token_id: int
    token: str
    after_reset: AfterReset
    reset_bias: float
    hold_back: int
    calibrated: bool
    method: str
    source_sha256: str | None = None
    reset_row_sha256: str | None = None


@dataclass(frozen=True)
class BacktrackRecord:
    """The file backtrack.json beside weights or an adapter.

    `calibrated_type` is the tensor type, such as q8_0, that bias and hold-back were measured on; the two
    hashes are the measured file's own, and None in records of before they were written.
    """

    reset_token: str
    reset_token_id: int | None
    method: str
    after_reset: AfterReset
    reset_bias: float
    hold_back: int
    calibrated: bool
    calibrated_type: str | None
    calibrated_source_sha256: str | None = None
    calibrated_reset_row_sha256: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


def read_contract(
    header: GGUFHeader, reset_token: str | None = None
) -> tuple[ResetContract | None, str | None]:
    """Find a file's reset token: by its keys, or else by the token's name.

    Returns the contract, or None for an ordinary model, and a note for the user, or None. `reset_token` names
    the token of a file that has no keys, or another one than its keys name.
    """
    values = header.metadata
    has_keys = any(key.startswith(_PREFIX) for key in values)
    if has_keys and (reset_token is None or values.get(_PREFIX + "reset_token") == reset_token):
        try:
            return _from_keys(values), None
        except TakebackError as error:
            return None, f"it cannot take back: its backtrack keys are wrong: {error}"
    return _by_name(values, reset_token)


def _from_keys(values: Mapping[str, Any]) -> ResetContract:
    """Read the contract from its keys; TakebackError names the first one that is wrong."""

    def get(name: str, kind: type[_T], default: _T | None = None) -> _T:
        value = values.get(_PREFIX + name, default)
        if type(value) is not kind:  # not isinstance: True is no id
            raise TakebackError(f"{_PREFIX}{name} is missing or no {kind.__name__}")
        return value

    if get("schema_version", int) != SCHEMA_VERSION:
        raise TakebackError(f"{_PREFIX}schema_version is {get('schema_version', int)}, and only 1 is known")
    contract = ResetContract(
        token_id=get("reset_token_id", int),
        token=get("reset_token", str),
        after_reset=cast(AfterReset, get("after_reset", str)),
        reset_bias=get("reset_bias", float),
        hold_back=get("hold_back", int),
        calibrated=get("calibrated", bool),
        method=get("method", str, "unknown"),
        source_sha256=_digest(get("source_sha256", str, "")),
        reset_row_sha256=_digest(get("reset_row_sha256", str, "")),
    )
    _check_values(contract.after_reset, contract.method, contract.reset_bias, contract.hold_back)
    _check_token(values, contract.token_id, contract.token)
    return contract


def _digest(text: str) -> str | None:
    if text and (len(text) != 64 or set(text) - set("0123456789abcdef")):
        raise TakebackError("a SHA-256 is not 64 hexadecimal digits")
    return text or None


def _check_values(after_reset: str, method: str, bias: float, hold_back: int) -> None:
    if after_reset not in AFTER_RESET:
        raise TakebackError(f"after_reset is {clean_line(after_reset[:40])!r}, and not one of rewind, keep")
    if method not in METHODS:
        raise TakebackError(f"method is {clean_line(method[:40])!r}, and not one of {', '.join(METHODS)}")
    if not math.isfinite(bias) or abs(bias) > MAX_BIAS:
        raise TakebackError(f"reset_bias is {bias}, and not a number from -{MAX_BIAS:.0f} to {MAX_BIAS:.0f}")
    if not 0 <= hold_back <= MAX_HOLD_BACK:
        raise TakebackError(f"hold_back is {hold_back}, and not from 0 to {MAX_HOLD_BACK:,}")


def _check_token(values: Mapping[str, Any], token_id: int, text: str) -> None:
    """Check that the token is in the vocabulary under this text, is CONTROL, and ends no generation."""
    tokens, types = _vocabulary(values)
    shown = clean_line(text[:80])
    if not 0 <= token_id < len(tokens):
        raise TakebackError(f"the reset token's id {token_id} is outside the vocabulary of {len(tokens):,}")
    if tokens[token_id] != text:
        found = clean_line(str(tokens[token_id])[:80])
        raise TakebackError(f"the token {token_id} is {found!r}, and not {shown!r}")
    if types[token_id] != CONTROL:
        raise TakebackError(f"the token {shown!r} is of type {types[token_id]}, and not CONTROL")
    for key in END_KEYS:
        if values.get(key) == token_id:
            raise TakebackError(f"the token {shown!r} is also {key}, which ends the reply")


def _vocabulary(values: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The tokens' texts and types: two tuples of one length, empty where the file has none."""
    tokens = values.get("tokenizer.ggml.tokens", ())
    types = values.get("tokenizer.ggml.token_type", ())
    if not isinstance(tokens, tuple) or not isinstance(types, tuple) or len(tokens) != len(types):
        return (), ()
    return tokens, types


def _by_name(values: Mapping[str, Any], reset_token: str | None) -> tuple[ResetContract | None, str | None]:
    """Take the one CONTROL token of this name as the reset token, with nothing known about its training."""
    name = reset_token or DEFAULT_TOKEN
    tokens, types = _vocabulary(values)
    found = [i for i, text in enumerate(tokens) if text == name and types[i] == CONTROL]
    shown = clean_line(name[:80])
    if len(found) != 1:
        asked = reset_token is not None
        return None, f"it has no control token {shown}, so it cannot take back" if asked else None
    try:
        _check_token(values, found[0], name)
    except TakebackError as error:
        return None, f"it cannot take back: {error}"
    note = f"it says nothing about its reset token; {shown} is taken as such, not calibrated"
    return (
        ResetContract(found[0], name, "keep", 0.0, DEFAULT_HOLD_BACK, calibrated=False, method="unknown"),
        note,
    )


def load_record(folder: Path) -> BacktrackRecord | None:
    """Read and check backtrack.json in `folder`; None where there is none.

    Raises TakebackError that names the file and what is wrong in it.
    """
    path = folder / RECORD_NAME
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise TakebackError(f"{path}: larger than a mebibyte, so it is no training record")
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{path}: not valid JSON: {clean_line(str(error)[:120])}") from error
    try:
        return _record(values)
    except TakebackError as error:
        raise TakebackError(f"{path}: {error}; correct it, or train again") from error


def _record(values: object) -> BacktrackRecord:
    if not isinstance(values, dict):
        raise TakebackError("not a JSON object")

    fields: dict[str, Any] = values

    def get(name: str, kinds: tuple[type, ...], default: _Json) -> _Json:
        value = fields.get(name, default)
        if type(value) not in kinds:
            raise TakebackError(f"{name} is not of type {' or '.join(kind.__name__ for kind in kinds)}")
        return value

    if get("schema_version", (int,), None) != SCHEMA_VERSION:
        raise TakebackError(f"schema_version is {fields['schema_version']}, and only 1 is known")
    none = type(None)
    record = BacktrackRecord(
        reset_token=get("reset_token", (str,), DEFAULT_TOKEN),
        reset_token_id=get("reset_token_id", (int, none), None),
        method=get("method", (str,), "unknown"),
        after_reset=get("after_reset", (str,), "keep"),
        reset_bias=_finite(get("reset_bias", (int, float), 0.0)),
        hold_back=get("hold_back", (int,), DEFAULT_HOLD_BACK),
        calibrated=get("calibrated", (bool,), False),
        calibrated_type=get("calibrated_type", (str, none), None),
        calibrated_source_sha256=get("calibrated_source_sha256", (str, none), None),
        calibrated_reset_row_sha256=get("calibrated_reset_row_sha256", (str, none), None),
        training=get("training", (dict,), {}),
    )
    _check_values(record.after_reset, record.method, record.reset_bias, record.hold_back)
    if not record.reset_token or record.reset_token != clean_line(record.reset_token):
        raise TakebackError("reset_token is empty or holds characters that no token should")
    return record


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def contract_metadata(contract: ResetContract) -> dict[str, TypedValue]:
    """The keys that a file with this contract carries, each with its type; the inverse of `read_contract`."""
    values = {
        "schema_version": TypedValue(ValueType.UINT32, SCHEMA_VERSION),
        "reset_token_id": TypedValue(ValueType.UINT32, contract.token_id),
        "reset_token": TypedValue(ValueType.STRING, contract.token),
        "after_reset": TypedValue(ValueType.STRING, contract.after_reset),
        "reset_bias": TypedValue(ValueType.FLOAT32, contract.reset_bias),
        "hold_back": TypedValue(ValueType.UINT32, contract.hold_back),
        "calibrated": TypedValue(ValueType.BOOL, contract.calibrated),
        "method": TypedValue(ValueType.STRING, contract.method),
    }
    if contract.source_sha256:
        values["source_sha256"] = TypedValue(ValueType.STRING, contract.source_sha256)
    if contract.reset_row_sha256:
        values["reset_row_sha256"] = TypedValue(ValueType.STRING, contract.reset_row_sha256)
    return {_PREFIX + name: value for name, value in values.items()}
