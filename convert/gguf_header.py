"""A strict, fast reader of a GGUF file's header: every length is checked before it is believed.

The format is that of ggml's docs/gguf.md, version 3 (and 2, which differs in nothing that is read here). The
`gguf` package's own reader takes half a minute and a gigabyte on large vocabularies, and trusts the file.
"""

import hashlib
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from convert.errors import TakebackError
from convert.untrusted import clean_line

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
_MAX_KEY_BYTES = 65_535
_MAX_TENSOR_NAME_BYTES = 63  # GGML_MAX_NAME less the closing zero
_MAX_DIMENSIONS = 4
_MAX_ALIGNMENT = 1 << 16
_MAX_HEADER_BYTES = 256 << 20
_MAX_STRINGS = 1 << 22

MetadataValue: TypeAlias = Any
"""A bool, int, float, str, or a tuple of these."""


class ValueType(IntEnum):
    """The types of a metadata value, numbered as in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


FORMATS: Mapping[ValueType, str] = MappingProxyType(
    {
        ValueType.UINT8: "B",
        ValueType.INT8: "b",
        ValueType.UINT16: "H",
        ValueType.INT16: "h",
        ValueType.UINT32: "I",
        ValueType.INT32: "i",
        ValueType.FLOAT32: "f",
        ValueType.BOOL: "B",
        ValueType.UINT64: "Q",
        ValueType.INT64: "q",
        ValueType.FLOAT64: "d",
    }
)
"""struct's letter for each value type of fixed size."""

GGML_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        0: ("f32", 1, 4),
        1: ("f16", 1, 2),
        2: ("q4_0", 32, 18),
        3: ("q4_1", 32, 20),
        6: ("q5_0", 32, 22),
        7: ("q5_1", 32, 24),
        8: ("q8_0", 32, 34),
        10: ("q2_k", 256, 84),
        11: ("q3_k", 256, 110),
        12: ("q4_k", 256, 144),
        13: ("q5_k", 256, 176),
        14: ("q6_k", 256, 210),
        16: ("iq2_xxs", 256, 66),
        17: ("iq2_xs", 256, 74),
        18: ("iq3_xxs", 256, 98),
        19: ("iq1_s", 256, 50),
        20: ("iq4_nl", 32, 18),
        21: ("iq3_s", 256, 110),
        22: ("iq2_s", 256, 82),
        23: ("iq4_xs", 256, 136),
        24: ("i8", 1, 1),
        25: ("i16", 1, 2),
        26: ("i32", 1, 4),
        27: ("i64", 1, 8),
        28: ("f64", 1, 8),
        29: ("iq1_m", 256, 56),
        30: ("bf16", 1, 2),
        34: ("tq1_0", 256, 54),
        35: ("tq2_0", 256, 66),
        39: ("mxfp4", 32, 17),
        40: ("nvfp4", 64, 36),
        41: ("q1_0", 128, 18),
        42: ("q2_0", 64, 18),
    }
)
"""ggml's tensor types: name, elements a block, bytes a block."""

TYPE_NUMBERS: Mapping[str, int] = MappingProxyType(
    {name: number for number, (name, _, _) in GGML_TYPES.items()}
)
"""The number of each tensor type, by its name."""


class TypedValue(NamedTuple):
    """A metadata value with its type; `element` is the type of an array's elements."""

    type: ValueType
    data: MetadataValue
    element: ValueType | None = None


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file. The shape is in torch's order, rows first; `offset` is from the file's start."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    nbytes: int


@dataclass(frozen=True)
class GGUFHeader:
    """All that a file says before its tensors' data.

    `metadata` holds plain values (arrays as tuples), `typed` the same with their types; `places` says at
    which byte of the file each value begins. `header_sha256` is over all bytes before `data_offset`.
    """

    version: int
    metadata: Mapping[str, MetadataValue]
    typed: Mapping[str, TypedValue]
    places: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int
    header_sha256: str


def tensor_nbytes(shape: tuple[int, ...], ggml_type: int) -> int:
    """How many bytes a tensor takes; ValueError where the rows are no whole number of the type's blocks."""
    name, block, size = GGML_TYPES[ggml_type]
    if shape[-1] % block:
        raise ValueError(f"rows of {shape[-1]} elements are no multiple of {name}'s {block}")
    return math.prod(shape) // block * size


def aligned(offset: int, alignment: int) -> int:
    """The first multiple of `alignment` at or after `offset`."""
    return -(-offset // alignment) * alignment


def read_header(path: Path, name: str | None = None) -> GGUFHeader:
    """Read and check the header of a GGUF file; `name` is what errors call it, where not by its own.

    Raises TakebackError where the file cannot be read, is no GGUF file, is cut off, or says something that
    cannot be true. Nothing is allocated on the word of the file alone.
    """
    try:
        with path.open("rb") as file, _mapped(path, file) as data:
            return _Parser(data, name or path.name).header()
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error


def _mapped(path: Path, file: BinaryIO) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # an empty file cannot be mapped
        raise TakebackError(f"{path}: not a GGUF file: it is empty") from error


class _Parser:
    """A position in the mapped bytes and the checks at each step forward."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self.data = data
        self.size = len(data)
        self.limit = min(self.size, _MAX_HEADER_BYTES)
        self.at = 0
        self.name = clean_line(name)

    def fail(self, what: str) -> TakebackError:
        return TakebackError(f"{self.name}: not a valid GGUF file: {what}; get the file again")

    def too_short(self) -> TakebackError:
        if self.limit < self.size:
            return self.fail(f"a header of more than {self.limit >> 20} MiB")
        return self.fail(f"cut off at byte {self.size:,}")

    def take(self, count: int) -> int:
        """Step over `count` bytes and return where they begin."""
        start = self.at
        if count > self.limit - start:
            raise self.too_short()
        self.at = start + count
        return start

    def number(self, letter: str) -> MetadataValue:
        return struct.unpack_from("<" + letter, self.data, self.take(struct.calcsize("<" + letter)))[0]

    def text(self, longest: int | None = None) -> str:
        count = self.number("Q")
        if longest is not None and count > longest:
            raise self.fail(f"a name of {count:,} bytes (at most {longest:,} are allowed)")
        start = self.take(count)
        try:
            return self.data[start : start + count].decode()
        except UnicodeDecodeError:
            raise self.fail(f"the text at byte {start:,} is not UTF-8") from None

    def value_type(self) -> ValueType:
        number = self.number("I")
        try:
            return ValueType(number)
        except ValueError:
            raise self.fail(f"unknown metadata type {number}") from None

    def scalar(self, kind: ValueType) -> MetadataValue:
        if kind is ValueType.STRING:
            return self.text()
        if kind is ValueType.BOOL:
            return self.number("B") != 0
        return self.number(FORMATS[kind])

    def array(self, kind: ValueType) -> tuple[MetadataValue, ...]:
        count = self.number("Q")
        if kind is ValueType.ARRAY:
            raise self.fail("an array of arrays")
        if kind is ValueType.STRING:
            if count * 8 > self.limit - self.at:
                raise self.too_short()
            if count > _MAX_STRINGS:
                raise self.fail(f"an array of {count:,} texts")
            return tuple([self.text() for _ in range(count)])
        width = struct.calcsize("<" + FORMATS[kind])
        start = self.take(count * width)
        values = struct.unpack_from(f"<{count}{FORMATS[kind]}", self.data, start)
        return tuple(value != 0 for value in values) if kind is ValueType.BOOL else values

    def header(self) -> GGUFHeader:
        if self.data[:4] != MAGIC:
            raise TakebackError(f"{self.name}: not a GGUF file: it does not begin with GGUF")
        self.take(4)
        version = self.number("I")
        if version not in (2, 3):
            raise TakebackError(f"{self.name}: GGUF version {version} cannot be read (2 and 3 can)")
        tensor_count, value_count = self.number("Q"), self.number("Q")
        typed, places = self.values(value_count)
        metadata = {key: value.data for key, value in typed.items()}
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self.fail(f"an alignment of {clean_line(str(alignment)[:20])}")
        raw = self.tensor_infos(tensor_count)
        data_offset = aligned(self.at, alignment)
        tensors = self.placed(raw, data_offset, alignment)
        return GGUFHeader(
            version=version,
            metadata=MappingProxyType(metadata),
            typed=MappingProxyType(typed),
            places=MappingProxyType(places),
            tensors=tensors,
            data_offset=data_offset,
            alignment=alignment,
            header_sha256=hashlib.sha256(self.data[:data_offset]).hexdigest(),
        )

    def values(self, count: int) -> tuple[dict[str, TypedValue], dict[str, int]]:
        typed: dict[str, TypedValue] = {}
        places: dict[str, int] = {}
        for _ in range(count):  # each turn takes bytes, so a false count ends at the end of the file
            key = self.text(_MAX_KEY_BYTES)
            if key in typed:
                raise self.fail(f"the key {clean_line(key[:80])} is there twice")
            kind = self.value_type()
            element = self.value_type() if kind is ValueType.ARRAY else None
            places[key] = self.at
            value = self.scalar(kind) if element is None else self.array(element)
            typed[key] = TypedValue(kind, value, element)
        return typed, places

    def tensor_infos(self, count: int) -> list[tuple[str, tuple[int, ...], int, int]]:
        """Name, shape, type and offset into the data of each tensor, as the file has them."""
        infos: list[tuple[str, tuple[int, ...], int, int]] = []
        names: set[str] = set()
        for _ in range(count):
            name = self.text(_MAX_TENSOR_NAME_BYTES)
            if name in names:
                raise self.fail(f"the tensor {clean_line(name)} is there twice")
            names.add(name)
            dimensions = self.number("I")
            if not 1 <= dimensions <= _MAX_DIMENSIONS:
                raise self.fail(f"the tensor {clean_line(name)} has {dimensions:,} dimensions")
            shape = tuple(self.number("Q") for _ in range(dimensions))[::-1]
            infos.append((name, shape, self.number("I"), self.number("Q")))
        return infos

    def placed(
        self, raw: list[tuple[str, tuple[int, ...], int, int]], data_offset: int, alignment: int
    ) -> tuple[TensorInfo, ...]:
        """Check that the tensors lie one behind the other, without a gap, inside the file."""
        tensors: list[TensorInfo] = []
        expected = 0
        for name, shape, ggml_type, offset in raw:
            if ggml_type not in GGML_TYPES:
                raise self.fail(f"the tensor {clean_line(name)} has the unknown type {ggml_type}")
            if min(shape) < 1 or math.prod(shape) > 1 << 62:
                raise self.fail(f"the tensor {clean_line(name)} has an impossible shape")
            try:
                nbytes = tensor_nbytes(shape, ggml_type)
            except ValueError as error:
                raise self.fail(f"the tensor {clean_line(name)}: {error}") from None
            if offset != expected:
                raise self.fail(f"the tensor {clean_line(name)} is at {offset:,} and not at {expected:,}")
            if nbytes > self.size - data_offset - offset:
                raise self.fail(f"cut off at byte {self.size:,}, inside the tensor {clean_line(name)}")
            tensors.append(TensorInfo(name, shape, ggml_type, data_offset + offset, nbytes))
            expected = aligned(offset + nbytes, alignment)
        return tuple(tensors)
