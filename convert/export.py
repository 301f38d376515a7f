"""Writes a GGUF file: a temporary name in the same folder, one tensor at a time, then fsync and rename."""

import math
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from convert.errors import TakebackError
from convert.gguf_header import (
    DEFAULT_ALIGNMENT,
    FORMATS,
    MAGIC,
    MetadataValue,
    TypedValue,
    ValueType,
    aligned,
    read_header,
)
from convert.merge import OutputTensor, chunks
from convert.numbers import Bytes
from convert.progress import Progress
from convert.untrusted import clean_line

_VERSION = 3


@contextmanager
def replacing(out: Path, *, force: bool, needed: int = 0) -> Iterator[Path]:
    """Give a path beside `out` to write to, and put that file in the place of `out` when the block is done.

    Whatever happens, no half-written file is left. Raises TakebackError where `out` exists and `force` is not
    set, where the folder is missing or has less than `needed` bytes free, and where writing fails.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        _check_place(out, force=force, needed=needed)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        if out.exists() and not force:
            raise TakebackError(f"{out}: was made by something else meanwhile; nothing was replaced")
        partial.replace(out)
        _sync_folder(out.parent)
    except OSError as error:
        raise TakebackError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # of a name that is too long there is nothing to remove
            partial.unlink(missing_ok=True)


def _check_place(out: Path, *, force: bool, needed: int) -> None:
    if out.is_dir():
        raise TakebackError(f"{out}: is a folder; name the file to write")
    if out.exists() and not force:
        raise TakebackError(f"{out}: exists already; choose another name, or add --force to replace it")
    if not out.parent.is_dir():
        raise TakebackError(f"{out.parent}: there is no such folder; make it first")
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise TakebackError(
            f"{out.parent}: needs {_mib(needed)} of free space and has {_mib(free)}; make room"
        )


def _mib(count: int) -> str:
    return f"{math.ceil(count / (1 << 20)):,} MiB"


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last; Windows can neither open a folder nor needs to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_gguf(
    path: Path,
    metadata: Mapping[str, TypedValue],
    tensors: Sequence[OutputTensor],
    seen: Callable[[OutputTensor, Bytes], None],
    progress: Progress,
) -> None:
    """Write a GGUF file of these keys and tensors.

    `seen` is shown every byte that is read of a tensor's source; `progress` counts the bytes of tensor data
    written. Memory is bounded by a few chunks of a tensor, whatever the model's size.
    """
    alignment = metadata["general.alignment"].data if "general.alignment" in metadata else DEFAULT_ALIGNMENT
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_text(key) + _value(value))
        total = 0
        for tensor in tensors:
            shape = tensor.shape[::-1]  # ggml counts the fastest dimension first
            file.write(_text(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
            file.write(struct.pack("<IQ", tensor.ggml_type, total))
            total += aligned(tensor.nbytes, alignment)
        _pad(file, alignment)
        start = file.tell()
        for tensor in tensors:
            for chunk in chunks(tensor, lambda raw, tensor=tensor: seen(tensor, raw)):  # type: ignore[misc]
                file.write(chunk.data)
                progress("writing", file.tell() - start, total)
            _pad(file, alignment)
        if file.tell() != start + total:
            raise ValueError("the tensors written are not as large as their shapes")


def _pad(file: BinaryIO, alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))


def _text(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        shown = clean_line(text[max(0, error.start - 20) : error.start + 20])
        raise TakebackError(
            f"the text {shown} holds half a character, which UTF-8 cannot say; "
            "correct the tokenizer's files or the template"
        ) from error
    return struct.pack("<Q", len(raw)) + raw


def _value(value: TypedValue) -> bytes:
    """A value with its type in front, as it stands behind its key."""
    start = struct.pack("<I", value.type)
    if value.element is None:
        return start + _plain(value.type, value.data)
    start += struct.pack("<IQ", value.element, len(value.data))
    if value.element is ValueType.STRING:
        return start + b"".join(map(_text, value.data))
    return start + struct.pack(f"<{len(value.data)}{FORMATS[value.element]}", *value.data)


def _plain(kind: ValueType, data: MetadataValue) -> bytes:
    return _text(data) if kind is ValueType.STRING else struct.pack("<" + FORMATS[kind], data)


def patch(path: Path, values: Mapping[str, MetadataValue]) -> None:
    """Change values of a finished file in place; a text must be as long as the one that stands there.

    Raises TakebackError where the file has no such key.
    """
    header = read_header(path)
    with path.open("rb+") as file:
        for key, value in values.items():
            if key not in header.places:
                raise TakebackError(f"{path}: has no key {key}")
            raw = _plain(header.typed[key].type, value)
            if len(raw) != len(_plain(header.typed[key].type, header.metadata[key])):
                raise ValueError(f"{key} is of another length")
            file.seek(header.places[key])
            file.write(raw)
        os.fsync(file.fileno())
