"""Numbers as the tensor types store them, to float32 and back, a few rows at a time.

Written here are the types that are met in bulk; the rest is read by the `gguf` package. Results are equal,
bit for bit, to those of ggml's reference code.
"""

import numpy as np
import numpy.typing as npt

from convert.errors import TakebackError
from convert.gguf_header import GGML_TYPES

F32, F16, Q4_1, Q8_0, F64, BF16 = 0, 1, 3, 8, 28, 30
ENCODABLE = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0}
"""The types that `encode` can write, by name."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
_BLOCK = 32
_PLAIN = {F32: "<f4", F16: "<f2", F64: "<f8"}


def decode(raw: Bytes, ggml_type: int) -> Floats:
    """Turn stored rows [rows, bytes a row] into their values [rows, elements a row]."""
    if not len(raw):
        _, block, size = GGML_TYPES[ggml_type]
        return np.zeros((0, raw.shape[1] // size * block), np.float32)
    if ggml_type in _PLAIN:
        return raw.view(_PLAIN[ggml_type]).astype(np.float32, copy=False)
    if ggml_type == BF16:
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if ggml_type == Q8_0:
        return _decode_q8_0(raw)
    return _decode_q4_1(raw) if ggml_type == Q4_1 else _decode_rare(raw, ggml_type)


def _decode_q8_0(raw: Bytes) -> Floats:
    blocks = raw.reshape(-1, 34)
    values = blocks[:, 2:].view(np.int8).astype(np.float32)
    values *= _halves(blocks, 0)
    return values.reshape(len(raw), -1)


def _decode_q4_1(raw: Bytes) -> Floats:
    blocks = raw.reshape(-1, 20)
    packed = blocks[:, 4:]
    values = np.concatenate((packed & 15, packed >> 4), axis=1).astype(np.float32)
    values *= _halves(blocks, 0)
    values += _halves(blocks, 2)
    return values.reshape(len(raw), -1)


def _halves(blocks: Bytes, at: int) -> Floats:
    """The half-precision number at byte `at` of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _decode_rare(raw: Bytes, ggml_type: int) -> Floats:
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 (slow to import, and seldom needed)

    try:
        values: Floats = quants.dequantize(raw, GGMLQuantizationType(ggml_type))
    except (NotImplementedError, ValueError) as error:
        name = GGML_TYPES[ggml_type][0]
        raise TakebackError(f"a tensor of type {name} cannot be read; use a file of another type") from error
    return values.reshape(len(raw), -1)


def encode(values: Floats, ggml_type: int) -> Bytes:
    """Turn values [rows, elements a row] into stored rows [rows, bytes a row], of a type in ENCODABLE."""
    if ggml_type == F32:
        stored = values.astype("<f4", copy=False).view(np.uint8)
    elif ggml_type == F16:
        stored = _encode_f16(values)
    elif ggml_type == BF16:
        stored = _encode_bf16(values)
    elif ggml_type == Q8_0:
        stored = _encode_q8_0(values)
    else:
        raise ValueError(f"type {ggml_type} cannot be written")
    return stored


def _encode_f16(values: Floats) -> Bytes:
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if np.isinf(halves).any() and not np.isinf(values).any():
        raise TakebackError("a weight is larger than f16 can hold; convert with --type bf16")
    return halves.view(np.uint8)


def _encode_bf16(values: Floats) -> Bytes:
    bits = values.view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16  # to the nearest, ties to even
    nan = np.isnan(values)
    if nan.any():
        rounded[nan] = (bits[nan] >> 16) | 64
    return rounded.astype("<u2").view(np.uint8)


def _encode_q8_0(values: Floats) -> Bytes:
    blocks = np.ascontiguousarray(values).reshape(-1, _BLOCK)
    with np.errstate(invalid="ignore", over="ignore"):
        limit = np.abs(blocks).max(initial=0) / np.float32(127)
        if not np.isfinite(limit.astype("<f2")):
            raise TakebackError(
                "a weight is no number, or larger than q8_0 can hold; convert with --type bf16"
            )
    largest = np.maximum(blocks.max(axis=1, keepdims=True), -blocks.min(axis=1, keepdims=True))
    scale = np.abs(largest) / np.float32(127)  # abs: of zeros the largest is -0
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = blocks * inverse
    size = np.abs(scaled)
    whole = np.floor(size)
    size -= whole
    whole += size >= 0.5  # half away from zero, as C's roundf
    stored = np.empty((len(blocks), 2 + _BLOCK), np.uint8)
    stored[:, :2] = scale.astype("<f2").view(np.uint8)
    stored[:, 2:] = np.copysign(whole, scaled).astype(np.int8).view(np.uint8)
    return stored.reshape(len(values), -1)
