"""Proves a GGUF file's tensors against the source that it was made of.

This is written apart from the conversion on purpose: the row order, the merge and the tolerances below follow
from the formats and not from `merge.py`, so that one mistake cannot hide in both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from convert import numbers
from convert.adapter import EMBEDDING, HEAD, Adapter
from convert.architectures import family_of_config, known_gguf
from convert.check import Check, passed_if
from convert.checkpoint import Checkpoint, StoredTensor
from convert.errors import TakebackError
from convert.gguf_header import GGML_TYPES
from convert.numbers import Floats
from convert.transform import UNCHANGED, Transform

_PIECE = 1 << 21
_RELATIVE = {numbers.F32: 2e-6, numbers.BF16: 2**-8, numbers.F16: 2**-10}
"""The largest error of one number, relative to it, of the types that round each number by itself."""
_MADE = 1e-6
"""The largest error of a number that follows from the config, relative to it."""
_RMS = ((8, 0.01), (6.5, 0.03), (5.25, 0.06), (4, 0.14), (3, 0.30), (2.5, 0.60), (0, 1.10))
"""Bits a weight, and the largest root mean square error of a tensor, relative to its values'."""


@dataclass(frozen=True)
class Pair:
    """A tensor of the result, the source's that it should be, and what llama.cpp wants changed in it.

    `done` says that the source has been changed already.
    """

    name: str
    theirs: str
    result: StoredTensor
    source: StoredTensor
    transform: Transform
    done: bool


def check_tensors(result: Checkpoint, source: Checkpoint, adapter: Adapter | None) -> list[Check]:
    """Check that every tensor of the source is in the result once, in its shape and with its values."""
    known = known_gguf(result.header.metadata.get("general.architecture")) if result.header else None
    family = family_of_config(source.config) if source.header is None else known
    try:
        names, changes = _names(result, family)
    except TakebackError as error:  # of the file's own hyper-parameters
        return [Check("tensors", "fail", str(error))]
    stored = dict(source.tensors)
    if source.header is not None:
        back = {ours: theirs for theirs, ours in names.items()}
        stored = {back.get(name, name): tensor for name, tensor in stored.items()}
    if adapter is not None:
        stored |= adapter.whole
    wanted = {
        theirs: names.get(theirs, theirs) for theirs in stored if not theirs.endswith("rotary_emb.inv_freq")
    }
    if wanted.get(HEAD) and wanted[HEAD] not in result.tensors and is_embedding(stored):
        del wanted[HEAD]
    missing = sorted(ours for ours in wanted.values() if ours not in result.tensors)
    made = family_of_config(source.config).made_tensors(source.config) if source.header is None else {}
    missing += sorted(set(made) - set(result.tensors))
    extra = sorted(set(result.tensors) - set(wanted.values()) - set(made))
    detail = f"{len(wanted)} tensors of the source, each there once"
    if missing or extra:
        shown = [", ".join(names[:3]) or "none" for names in (missing, extra)]
        detail = f"missing: {shown[0]}; not of the source: {shown[1]}"
    checks = [passed_if("tensors", good=not missing and not extra, detail=detail)]
    pairs = [
        Pair(
            *(ours, theirs, result.tensors[ours], stored[theirs], changes.get(theirs, UNCHANGED)),
            done=source.header is not None and (adapter is None or theirs not in adapter.whole),
        )
        for theirs, ours in wanted.items()
        if ours in result.tensors
    ]
    checks += _check_made(made, result)
    checks.append(_check_shapes(pairs, adapter))
    if checks[-1].verdict == "pass":
        with np.errstate(all="ignore"):  # what is no number is off by more than any type allows
            checks += _check_values(pairs, adapter)
    return checks


def _names(
    result: Checkpoint, family: ModuleType | None
) -> tuple[Mapping[str, str], Mapping[str, Transform]]:
    """The family's tensor names and changes; nothing where the family is not known."""
    values = result.header.metadata if result.header is not None else {}
    return ({}, {}) if family is None else (family.tensor_names(values), family.transforms(values))


def _check_made(made: Mapping[str, Floats], result: Checkpoint) -> list[Check]:
    """Compare the tensors that follow from the config alone."""
    off = [
        name
        for name, expected in made.items()
        if name in result.tensors
        and not (
            result.tensors[name].shape == expected.shape
            and np.allclose(result.tensors[name].values(), expected, rtol=_MADE, atol=0)
        )
    ]
    detail = f"{off[0]} is not what the config says" if off else f"{len(made)} tensors follow from the config"
    return [passed_if("rope factors", good=not off, detail=detail)] if made else []


def is_embedding(stored: Mapping[str, StoredTensor]) -> bool:
    """Whether a checkpoint's head is its embedding again."""
    head, embedding = stored[HEAD], stored.get(EMBEDDING)
    return embedding is not None and (
        (head.dtype, head.shape) == (embedding.dtype, embedding.shape)
        and all(
            np.array_equal(head.read(i, n), embedding.read(i, n))
            for i, n in _spans(head.rows, head.shape[-1])
        )
    )


def _spans(rows: int, width: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each piece of a tensor."""
    step = max(1, _PIECE // width // multiple) * multiple
    for first in range(0, rows, step):
        yield first, min(step, rows - first)


def _check_shapes(pairs: list[Pair], adapter: Adapter | None) -> Check:
    for pair in pairs:
        shape = pair.source.shape
        rows = adapter.rows.get(pair.theirs) if adapter is not None else None
        if rows is not None:
            shape = (max(shape[0], *(i + 1 for i in rows.ids)), *shape[1:])
        if pair.result.shape != shape:
            return Check("shapes", "fail", f"{pair.name} is {pair.result.shape} and should be {shape}")
        if len(shape) == 1 and pair.result.ggml_type != numbers.F32:
            return Check("shapes", "fail", f"{pair.name} has one dimension and is not F32")
    return Check("shapes", "pass", "every tensor has the source's shape, and the new rows")


def _check_values(pairs: list[Pair], adapter: Adapter | None) -> list[Check]:
    """Compare every number; tensors that were changed for llama.cpp are a check of their own."""
    kinds = ("copied bytes", "q and k row order", "norms", "query scale", "weights")
    wrong: dict[str, list[str]] = {kind: [] for kind in kinds}
    counted, unread = dict.fromkeys(wrong, 0), dict.fromkeys(wrong, "")
    for pair in pairs:
        changed = adapter is not None and (pair.theirs in adapter.loras or pair.theirs in adapter.rows)
        same = pair.source.ggml_type == pair.result.ggml_type and not changed
        kind, as_it_was = _kind(pair.transform)
        kind = kind or ("copied bytes" if same else "weights")
        exact = same and (pair.done or not pair.transform.calculates)
        if not exact and not is_readable(pair.result):
            unread[kind] = (
                f"{pair.name} is of type {pair.result.dtype.lower()}, which the gguf package cannot read"
            )
            continue
        error = difference(pair, adapter if changed else None, moved=pair.done, exact=exact)
        counted[kind] += 1
        if error is not None:
            if as_it_was and not pair.done and difference(pair, adapter, moved=True, exact=same) is None:
                error = as_it_was
            wrong[kind].append(f"{pair.name}: {error}")
    skipped = [Check(kind, "skipped", why) for kind, why in unread.items() if why]
    return skipped + [
        passed_if(kind, good=not errors, detail=errors[0] if errors else f"{counted[kind]} tensors compared")
        for kind, errors in wrong.items()
        if counted[kind]
    ]


def is_readable(tensor: StoredTensor) -> bool:
    """Whether its numbers can be had at all; llama.cpp writes types that the gguf package does not know yet."""
    row = tensor.read(0, 1)
    try:
        numbers.decode(row, tensor.number_type())
    except TakebackError:
        return False
    return True


def _kind(transform: Transform) -> tuple[str | None, str | None]:
    """The check that a changed tensor belongs to, and what to say where the change was forgotten."""
    if transform.heads is not None:
        return "q and k row order", "its rows are in the checkpoint's order, not in llama.cpp's"
    if transform.plus:
        return "norms", f"it is the checkpoint's, without the {transform.plus:g} that llama.cpp wants added"
    if transform.times != 1:
        return "query scale", f"it is the checkpoint's, not {transform.times:g} times it"
    return None, None


def difference(pair: Pair, adapter: Adapter | None, *, moved: bool, exact: bool) -> str | None:
    """What is wrong with a tensor, or None. `exact` compares bytes."""
    heads = pair.transform.heads
    if heads and pair.result.rows % (2 * heads):
        return f"{pair.result.rows:,} rows are not {heads:,} heads of an even size"
    size = pair.result.rows // heads if heads else 1
    squares, total = 0.0, 0.0
    for first, count in _spans(pair.result.rows, pair.result.nbytes // pair.result.rows, size):
        have = max(0, min(count, pair.source.rows - first))
        order = _order(count, size) if heads and not moved else np.arange(have)
        raw = pair.source.read(first, have)[order]
        if exact:
            if not np.array_equal(raw, pair.result.read(first, count)):
                return f"bytes differ between the rows {first} and {first + count}"
            continue
        base = numbers.decode(raw, pair.source.number_type())
        if not moved:
            base = base * np.float32(pair.transform.times) + np.float32(pair.transform.plus)
        expected = _changed(pair, base, (first, count), adapter, size)
        stored = numbers.decode(pair.result.read(first, count), pair.result.number_type())
        if not _each_close(expected, stored, pair.result.number_type()):
            return (
                f"a number between the rows {first} and {first + count} is further off than its type allows"
            )
        squares += float(np.square(stored - expected, dtype=np.float64).sum())
        total += float(np.square(expected, dtype=np.float64).sum())
    if exact:
        return None
    _, block, nbytes = GGML_TYPES[pair.result.number_type()]
    allowed = next(limit for least, limit in _RMS if nbytes * 8 / block >= least)
    error = (squares / total) ** 0.5 if total else squares
    return f"off by {error:.1%}, and its type allows {allowed:.0%}" if not error <= allowed else None


def _order(count: int, size: int) -> np.ndarray:
    """llama.cpp's row 2i + s of a head of `size` rows is the checkpoint's row i + s x size / 2."""
    rows = np.arange(count)
    head, within = rows // size, rows % size
    return head * size + within // 2 + within % 2 * (size // 2)


def _changed(pair: Pair, base: Floats, span: tuple[int, int], adapter: Adapter | None, size: int) -> Floats:
    """The base's rows with the adapter in them; `span` is the first row and how many."""
    first, count = span
    lora = adapter.loras.get(pair.theirs) if adapter is not None else None
    rows = adapter.rows.get(pair.theirs) if adapter is not None else None
    if lora is not None:
        down, up = lora.a.values(), lora.b.values()
        if lora.of_embedding:
            down, up = up.T, down.T
        part = up[first : first + len(base)]
        part = part[_order(len(part), size)] if pair.transform.heads else part
        base = base + lora.scale * pair.transform.times * part @ down
        if lora.magnitude is not None:
            wanted = lora.magnitude.values()[first : first + len(base)] * pair.transform.times
            wanted = wanted[_order(len(wanted), size)] if pair.transform.heads else wanted
            exact = base.astype(np.float64)
            base = exact * (wanted / np.sqrt((exact * exact).sum(axis=1)))[:, None]
    if rows is not None:
        grown = np.zeros((count, pair.result.shape[-1]), np.float32)
        grown[: len(base)] = base
        for i, row in zip(rows.ids, rows.values.values(), strict=True):
            if first <= i < first + count:
                grown[i - first] = row
        base = grown
    return base.astype(np.float32)


def _each_close(expected: Floats, stored: Floats, ggml_type: int) -> bool:
    """Whether each number is as near as its type can bring it; types of few bits are judged as a whole."""
    if ggml_type == numbers.Q8_0:
        blocks = np.abs(expected).reshape(-1, 32)
        allowed = np.repeat(blocks.max(axis=1) * (0.5 / 127 + 2**-10), 32).reshape(expected.shape)
    elif ggml_type in _RELATIVE:
        allowed = np.abs(expected) * _RELATIVE[ggml_type] + np.abs(expected).max(initial=0) * 2e-6
    else:
        return bool(np.isfinite(stored).all())
    return bool((np.abs(stored - expected) <= allowed + 1e-7).all())
