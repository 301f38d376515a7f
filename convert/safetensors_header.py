"""A strict reader of a safetensors file's header: known types, no overlap, no gap, the whole file covered."""

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from convert import numbers
from convert.errors import TakebackError
from convert.untrusted import clean_line

_MAX_HEADER_BYTES = 100_000_000  # the same bound as safetensors' own reader
_MAX_DIMENSIONS = 8
_NAME = re.compile(r"[\w.\-/:+]{1,512}", re.ASCII)
_DTYPES: dict[str, tuple[int, int | None]] = {
    "F64": (8, numbers.F64),
    "F32": (4, numbers.F32),
    "F16": (2, numbers.F16),
    "BF16": (2, numbers.BF16),
    **dict.fromkeys(("I64", "U64", "C64"), (8, None)),
    **dict.fromkeys(("I32", "U32"), (4, None)),
    **dict.fromkeys(("I16", "U16"), (2, None)),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), (1, None)),
}
"""Bytes an element, and ggml's number of the type where it can be converted."""


@dataclass(frozen=True)
class Entry:
    """One tensor of the file; `offset` is from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    ggml_type: int | None
    nbytes: int
    offset: int


def read_safetensors_header(path: Path) -> dict[str, Entry]:
    """Read and check the header. Raises TakebackError that names the file and the first thing wrong in it."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(8)
            if len(start) < 8:
                raise _fail(path, "it is cut off")
            (length,) = struct.unpack("<Q", start)
            if length > min(_MAX_HEADER_BYTES, size - 8):
                raise _fail(path, f"its header would be {length:,} bytes long")
            text = file.read(length)
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    entries = _entries(path, _parse(path, text), 8 + length)
    _check_layout(path, entries, 8 + length, size)
    return entries


def _fail(path: Path, what: str) -> TakebackError:
    return TakebackError(f"{path}: not a valid safetensors file: {what}; get the file again")


def _parse(path: Path, text: bytes) -> dict[str, object]:
    def no_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=no_doubles)
    except (ValueError, RecursionError) as error:
        raise _fail(path, f"its header is no JSON: {clean_line(str(error)[:120])}") from error
    if not isinstance(value, dict):
        raise _fail(path, "its header is no JSON object")
    value.pop("__metadata__", None)
    return value


def _entries(path: Path, header: dict[str, object], base: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for name, given in header.items():
        shown = clean_line(name[:80])
        if not _NAME.fullmatch(name):
            raise _fail(path, f"a tensor is called {shown!r}")
        if not isinstance(given, dict) or set(given) != {"dtype", "shape", "data_offsets"}:
            raise _fail(path, f"the entry of {shown} is not dtype, shape and data_offsets")
        dtype, shape, offsets = given["dtype"], given["shape"], given["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise _fail(path, f"{shown} has the unknown type {clean_line(str(dtype)[:20])}")
        if not _sizes(shape) or len(shape) > _MAX_DIMENSIONS:
            raise _fail(path, f"{shown} has an impossible shape")
        if not _sizes(offsets) or len(offsets) != 2:
            raise _fail(path, f"{shown} has impossible offsets")
        begin, end = offsets
        width, ggml_type = _DTYPES[dtype]
        if end - begin != math.prod(shape) * width:
            raise _fail(path, f"{shown} has {end - begin:,} bytes, which do not fit its shape and type")
        entries[name] = Entry(dtype, tuple(shape), ggml_type, end - begin, base + begin)
    return entries


def _sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 53 for item in value)


def _check_layout(path: Path, entries: dict[str, Entry], begin: int, size: int) -> None:
    """Check that the tensors lie one behind the other from the header's end to the file's."""
    at = begin
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if entry.offset != at:
            raise _fail(path, f"a gap or an overlap before {name}")
        at += entry.nbytes
    if at != size:
        raise _fail(path, f"it should be {at:,} bytes long and is {size:,}")
