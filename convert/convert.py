"""The conversion itself: open, plan, choose the reset token, write, quantize, seal with the hashes."""

import hashlib
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from convert import numbers
from convert.adapter import open_adapter
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.contract_choice import Choice, choose
from convert.errors import TakebackError
from convert.export import patch, replacing, write_gguf
from convert.gguf_header import TYPE_NUMBERS, TypedValue, ValueType, read_header
from convert.importance import read_importances
from convert.merge import OutputTensor
from convert.plan import Plan, bits, plan, typed
from convert.progress import Progress, silent
from convert.quantize import FILE_TYPES, NEED_IMPORTANCE, PROTECTING, quantize
from convert.reset_token import ResetContract, contract_metadata
from convert.source_digest import SourceDigest
from convert.untrusted import clean_line

_UNKNOWN_DIGEST = "0" * 64
_HEADER_ROOM = 64 << 20
_PHI_3 = re.compile("phi-?3", re.IGNORECASE)


@dataclass(frozen=True)
class ConvertReport:
    """What was made. `seconds` is the wall time; `contract` is None for an ordinary model."""

    out: Path
    type: str
    nbytes: int
    tensors: int
    seconds: float
    contract: ResetContract | None
    notes: tuple[str, ...]


def convert(
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
    """Convert a safetensors folder or a GGUF file to a GGUF file, with an adapter merged in.

    The embedding and the head of a backtracking model are at least of the type `protect_reset`. `importances` is a
    file of llama-imatrix, which some types need, `name` what the result calls itself (None: as its source does).
    An existing `out` is refused unless `force` is set; it is replaced only when the new file is complete. Raises
    TakebackError for everything that is wrong with the source, the adapter or the place to write to.
    """
    started = time.monotonic()
    check_types(type, protect_reset, importances)
    with ExitStack() as stack:
        opened = stack.enter_context(open_checkpoint(source))
        lora = stack.enter_context(open_adapter(adapter)) if adapter is not None else None
        planned = plan(opened, lora)
        choice = choose(
            opened, adapter, planned, reset_token=reset_token, after_reset=after_reset, file_type=type
        )
        protect = protect_reset if choice.contract is not None else None
        direct = type in numbers.ENCODABLE and planned.family is not None
        number = numbers.ENCODABLE.get(type, numbers.F32)
        least = TYPE_NUMBERS[protect] if protect is not None else None
        tensors = [typed(tensor, number, least, quantized_later=not direct) for tensor in planned.tensors]
        size = sum(tensor.nbytes for tensor in tensors) + _HEADER_ROOM
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=1))  # one: a digest is fed in order
        digest = SourceDigest(opened, lora, pool)
        metadata = result_metadata(opened, planned, choice, type, name)
        report = progress or silent

        def seen(tensor: OutputTensor, raw: numbers.Bytes) -> None:
            if tensor.source is not None:
                digest.seen(tensor.source, raw)

        with replacing(out, force=force, needed=size if direct else 2 * size) as partial:
            whole = partial if direct else partial.with_suffix(".whole")
            try:
                write_gguf(whole, metadata, tensors, seen, report)
                if not direct:
                    quantize(whole, partial, type, useful_protection(protect, type), importances, report)
            finally:
                if not direct:
                    whole.unlink(missing_ok=True)
            choice = sealed(partial, choice, digest.hexdigest)
            nbytes = partial.stat().st_size
    seconds = time.monotonic() - started
    return ConvertReport(out, type, nbytes, len(tensors), seconds, choice.contract, choice.notes)


def check_types(file_type: str, protect: str | None, importances: Path | None = None) -> None:
    """Refuse a type of file, or one to protect with, that cannot be made, and importances that are none."""
    if file_type in NEED_IMPORTANCE and importances is None:
        raise TakebackError(
            f"the type {file_type} needs measured importances of the weights: "
            "--imatrix with a file of llama-imatrix, or another type"
        )
    if importances is not None:
        if file_type in numbers.ENCODABLE:
            raise TakebackError(
                f"--imatrix changes nothing in {file_type}; leave it out, or take another type"
            )
        read_importances(importances)
    if file_type not in FILE_TYPES:
        raise TakebackError(
            f"the type {clean_line(file_type[:40])} is not known; known: {', '.join(FILE_TYPES)}"
        )
    if protect is not None and protect not in PROTECTING:
        known = ", ".join(PROTECTING)
        raise TakebackError(f"nothing can be protected with {clean_line(protect[:40])}; known: none, {known}")


def useful_protection(protect: str | None, file_type: str) -> str | None:
    """The protecting type, unless the file's own type is at least as good."""
    own = numbers.ENCODABLE.get(file_type)
    return (
        None if protect is None or (own is not None and bits(own) >= bits(TYPE_NUMBERS[protect])) else protect
    )


def result_metadata(
    source: Checkpoint, planned: Plan, choice: Choice, file_type: str, name: str | None = None
) -> dict[str, TypedValue]:
    """All keys of the result: a GGUF source keeps its own, a folder's follow from its config.json.

    `name` becomes its general.name; None leaves it that of the source.
    """
    text, number = ValueType.STRING, ValueType.UINT32
    if source.header is not None:
        dropped = ("tokenizer.", "backtrack.", "quantize.")
        values = {key: value for key, value in source.header.typed.items() if not key.startswith(dropped)}
        if name is not None:
            takes = re.search(_PHI_3, str(source.header.metadata.get("general.name"))) is not None
            values["general.name"] = TypedValue(text, model_name(name, takes_space_behind=takes))
    else:
        given = str(source.config.get("_name_or_path") or "").rpartition("/")[2]
        values = {
            "general.architecture": TypedValue(text, planned.family.GGUF if planned.family else ""),
            "general.type": TypedValue(text, "model"),
            "general.name": TypedValue(
                text,
                model_name(
                    name or given or folder_name(source.path.resolve()),
                    takes_space_behind=choice.vocabulary.takes_space_behind,
                ),
            ),
            **planned.hyper_parameters,
        }
    sizes = [key for key in values if key.endswith(".vocab_size")]
    values |= {key: TypedValue(number, planned.rows) for key in sizes}
    values["general.file_type"] = TypedValue(number, FILE_TYPES[file_type])
    values["general.quantization_version"] = TypedValue(number, 2)
    values |= choice.vocabulary.metadata()
    if choice.contract is not None:
        unsealed = changed(choice.contract, source_sha256=_UNKNOWN_DIGEST, reset_row_sha256=_UNKNOWN_DIGEST)
        values |= contract_metadata(unsealed)
    return values


def folder_name(path: Path) -> str:
    """A checkpoint's name by its folder; one of the hub's is called by its commit, in the repository's."""
    return path.parents[1].name.rpartition("--")[2] if path.parent.name == "snapshots" else path.name


def model_name(name: str, *, takes_space_behind: bool) -> str:
    """A name by which llama.cpp treats the spaces behind special tokens as the vocabulary says.

    It looks for "phi-3" in it, and has no other way to know.
    """
    plain = re.sub(_PHI_3, "phi 3", clean_line(name[:200]))
    return f"{plain} (phi-3)" if takes_space_behind else plain


def sealed(path: Path, choice: Choice, source_digest: Callable[[], str]) -> Choice:
    """Write the two hashes into the finished file, and whether it is the one that was calibrated."""
    if choice.contract is None:
        return choice
    row = reset_row_sha256(path, choice.contract.token_id)
    choice = choice.sealed(source_digest(), row)
    assert choice.contract is not None
    values = contract_metadata(choice.contract)
    known_now = ("backtrack.source_sha256", "backtrack.reset_row_sha256", "backtrack.calibrated")
    patch(path, {key: values[key].data for key in known_now})
    return choice


def reset_row_sha256(path: Path, token_id: int) -> str:
    """The hash of a token's row of the embedding, as its bytes stand in a GGUF file."""
    for tensor in read_header(path).tensors:
        if tensor.name == "token_embd.weight" and token_id < tensor.shape[0]:
            width = tensor.nbytes // tensor.shape[0]
            with path.open("rb") as file:
                file.seek(tensor.offset + token_id * width)
                return hashlib.sha256(file.read(width)).hexdigest()
    raise TakebackError(f"{path}: has no embedding row of the token {token_id}")
