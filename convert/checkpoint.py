"""What can be converted: a strict safetensors folder, or a GGUF file. Both give named tensors.

Tensors are read in pieces from open files and never mapped: a file cut off under us is an error and not a
signal, and the memory used does not grow with the model.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from convert import numbers
from convert.errors import TakebackError
from convert.gguf_header import GGML_TYPES, GGUFHeader, read_header
from convert.safetensors_header import read_safetensors_header
from convert.untrusted import clean_line

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""How the names of files end that can run code when they are read."""
_MAX_JSON_BYTES = 256 << 20

Json: TypeAlias = Any
"""What json.loads gives."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. `dtype` is the file's own name for its type, `ggml_type` ggml's number or None."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    ggml_type: int | None
    nbytes: int
    offset: int
    file: BinaryIO = field(repr=False, compare=False)

    @property
    def rows(self) -> int:
        """How many rows `read` knows: a tensor of one dimension has a row for each element."""
        return math.prod(self.shape[:-1] if len(self.shape) > 1 else self.shape)

    def read(self, first: int, count: int) -> numbers.Bytes:
        """Read rows as stored: uint8 [count, bytes a row]."""
        width = self.nbytes // max(self.rows, 1)
        self.file.seek(self.offset + first * width)
        raw = self.file.read(count * width)
        if len(raw) != count * width:
            raise TakebackError(f"{self.file.name}: cut off inside the tensor {clean_line(self.name)}")
        return np.frombuffer(raw, np.uint8).reshape(count, width)

    def values(self) -> numbers.Floats:
        """The whole tensor as float32, in its shape. For small tensors."""
        return numbers.decode(self.read(0, self.rows), self.number_type()).reshape(self.shape)

    def number_type(self) -> int:
        """ggml's number for the type; TakebackError where ggml has none for it."""
        if self.ggml_type is None:
            raise TakebackError(
                f"the tensor {clean_line(self.name)} is of type {self.dtype}, which cannot be converted; "
                "save the checkpoint as bfloat16"
            )
        return self.ggml_type


@dataclass(frozen=True)
class Checkpoint:
    """An open source. `config` is a folder's config.json, `header` a GGUF file's; the other is empty."""

    path: Path
    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Json]
    header: GGUFHeader | None


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a safetensors folder or a GGUF file. Raises TakebackError that says what can be converted."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TakebackError(f"{path}: there is no such file or folder") from error
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    with ExitStack() as files:
        if path.is_dir():
            config = read_json(path / "config.json")
            yield Checkpoint(path, _folder_tensors(path, files), config, None)
        elif path.is_file() and path.suffix == ".gguf":
            header = read_header(path)
            if header.metadata.get("split.count", 1) != 1:
                raise TakebackError(f"{path}: one part of a split model; join it first with llama-gguf-split")
            yield Checkpoint(path, _gguf_tensors(path, header, files), {}, header)
        else:
            hint = "pickle files can run code and are never read; " if path.suffix in PICKLES else ""
            raise TakebackError(f"{path}: {hint}give a folder with safetensors files, or a .gguf file")


def read_json(path: Path) -> dict[str, Json]:
    """Read a JSON object from an untrusted file; TakebackError names the file and what is wrong."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise TakebackError(f"{path}: larger than {_MAX_JSON_BYTES >> 20} MiB")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{path}: not valid JSON: {clean_line(str(error)[:120])}") from error
    if not isinstance(value, dict):
        raise TakebackError(f"{path}: not a JSON object")
    return value


def safetensors_tensors(path: Path, files: ExitStack) -> dict[str, StoredTensor]:
    """Open one safetensors file and give its tensors; the file stays open as long as `files`."""
    header = read_safetensors_header(path)
    file = _open(path, files)
    return {
        name: StoredTensor(name, entry.dtype, entry.shape, entry.ggml_type, entry.nbytes, entry.offset, file)
        for name, entry in header.items()
    }


def _open(path: Path, files: ExitStack) -> BinaryIO:
    try:
        return files.enter_context(path.open("rb"))
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error


def _gguf_tensors(path: Path, header: GGUFHeader, files: ExitStack) -> dict[str, StoredTensor]:
    file = _open(path, files)
    return {
        info.name: StoredTensor(
            info.name,
            GGML_TYPES[info.ggml_type][0].upper(),
            info.shape,
            info.ggml_type,
            info.nbytes,
            info.offset,
            file,
        )
        for info in header.tensors
    }


def _folder_tensors(folder: Path, files: ExitStack) -> dict[str, StoredTensor]:
    index = folder / _INDEX
    if index.exists():
        return _sharded(folder, read_json(index), files)
    if (folder / _SINGLE).exists():
        return safetensors_tensors(folder / _SINGLE, files)
    pickles = sorted(entry.name for entry in folder.iterdir() if entry.suffix in PICKLES)
    if pickles:
        raise TakebackError(
            f"{folder}: {clean_line(pickles[0])} is a pickle file, which can run code and is never read; "
            "save the checkpoint as safetensors"
        )
    raise TakebackError(f"{folder}: has neither {_SINGLE} nor {_INDEX}")


def index_files(path: Path, index: Mapping[str, Json]) -> list[str]:
    """The names of the files that an index names, sorted; TakebackError unless each is a plain one."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise TakebackError(f"{path}: has no weight_map")
    for name in places.values():
        if not isinstance(name, str) or not _plain(name):
            shown = clean_line(str(name)[:80])
            raise TakebackError(f"{path}: names the file {shown!r}; only plain file names are allowed")
    return sorted(set(places.values()))


def _sharded(folder: Path, index: dict[str, Json], files: ExitStack) -> dict[str, StoredTensor]:
    """Read the files that the index names and check that each holds just the tensors that it should."""
    shards = index_files(folder / _INDEX, index)
    places = index["weight_map"]
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        for name, tensor in safetensors_tensors(folder / shard, files).items():
            if places.get(name) != shard:
                raise TakebackError(
                    f"{folder / shard}: holds {clean_line(name)}, which the index puts elsewhere"
                )
            tensors[name] = tensor
    missing = sorted(set(places) - set(tensors))
    if missing:
        raise TakebackError(f"{folder}: the tensor {clean_line(str(missing[0])[:80])} is in no file")
    return tensors


def _plain(name: str) -> bool:
    """Whether a name is that of a safetensors file in the same folder, on every system."""
    return name.endswith(".safetensors") and name[0] != "." and not set(name) & set('/\\:\0<>|?*"')
