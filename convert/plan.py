"""What is to be written: which tensor of the source and of the adapter becomes which tensor of the result."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from convert import numbers
from convert.adapter import EMBEDDING, HEAD, Adapter, Rows
from convert.architectures import family_of_config, family_of_gguf, known_gguf
from convert.checkpoint import Checkpoint, StoredTensor
from convert.errors import TakebackError
from convert.gguf_header import GGML_TYPES, TypedValue
from convert.merge import OutputTensor
from convert.transform import UNCHANGED, Transform
from convert.untrusted import clean_line

_HARMLESS = ("rotary_emb.inv_freq",)
"""Buffers that old checkpoints saved; they follow from the config."""


@dataclass(frozen=True)
class Plan:
    """The tensors of the result, still in their source's types, and the hyper-parameters.

    `base_rows` is how many rows the source's embedding has without the adapter, `rows` how many the result's
    has. `family` is None for a GGUF file of an unknown architecture, which can be quantized but not merged.
    """

    family: ModuleType | None
    hyper_parameters: Mapping[str, TypedValue]
    tensors: tuple[OutputTensor, ...]
    base_rows: int
    rows: int


def plan(source: Checkpoint, adapter: Adapter | None) -> Plan:
    """Match names, merge the adapter, see whether the head is tied. TakebackError names what does not fit."""
    if source.header is None:
        family: ModuleType | None = family_of_config(source.config)
        hyper: Mapping[str, TypedValue] = family_of_config(source.config).hyper_parameters(source.config)
    else:
        architecture = source.header.metadata.get("general.architecture")
        family = known_gguf(architecture) if adapter is None else family_of_gguf(architecture)
        prefix = f"{architecture}."
        hyper = {key: value for key, value in source.header.typed.items() if key.startswith(prefix)}
    tensors = _named(source, family, {key: value.data for key, value in hyper.items()})
    base = tensors.get(EMBEDDING) or tensors.get("token_embd.weight")
    if adapter is not None:
        assert family is not None  # an unknown architecture with an adapter was refused
        plain = {key: value.data for key, value in hyper.items()}
        tensors = merged(tensors, adapter, family.tensor_names(plain), family.transforms(plain))
    tied = bool(source.config.get("tie_word_embeddings")) or (family is not None and not family.OWN_HEAD)
    tensors = without_tied_head(tensors, tied=tied)
    _check_head(tensors, family)
    embedding = tensors.get(EMBEDDING) or tensors.get("token_embd.weight")
    if base is None or embedding is None:
        raise TakebackError(f"{source.path}: has no embedding; it is not a language model")
    check_heads_rows(tensors)
    made = family.made_tensors(source.config) if family is not None and source.header is None else {}
    extra = [OutputTensor(name, values.shape, numbers.F32, made=values) for name, values in made.items()]
    return Plan(family, hyper, (*extra, *tensors.values()), base.shape[0], embedding.shape[0])


def _named(
    source: Checkpoint, family: ModuleType | None, hyper: Mapping[str, Any]
) -> dict[str, OutputTensor]:
    """The source's tensors by their names in a checkpoint, or by their own where the family knows none."""
    ours = family.tensor_names(hyper) if family is not None else {}
    changes = family.transforms(hyper) if family is not None else {}
    if source.header is not None:
        theirs = {ours_: name for name, ours_ in ours.items()}
        named = {theirs.get(name, name): tensor for name, tensor in source.tensors.items()}
        return {
            name: replace(output(tensor.name, tensor, changes.get(name, UNCHANGED)), done=True)
            for name, tensor in named.items()
        }
    stored = {name: tensor for name, tensor in source.tensors.items() if not name.endswith(_HARMLESS)}
    unknown = sorted(set(stored) - set(ours))
    optional = family.OPTIONAL if family is not None else ()
    missing = [name for name in ours if name not in stored and not name.endswith(optional)]
    if unknown or missing:
        wrong = f"has the tensor {clean_line(unknown[0])}, which" if unknown else f"lacks {missing[0]}, which"
        raise TakebackError(f"{source.path}: {wrong} does not fit the architecture and its config.json")
    return {
        name: output(gguf_name, stored[name], changes.get(name, UNCHANGED))
        for name, gguf_name in ours.items()
        if name in stored
    }


def output(name: str, tensor: StoredTensor, transform: Transform = UNCHANGED) -> OutputTensor:
    """A tensor of the result, still in its source's type; TakebackError where it has none that ggml knows."""
    if not tensor.nbytes or not 1 <= len(tensor.shape) <= 4:
        raise TakebackError(f"the tensor {clean_line(tensor.name)} has an impossible shape")
    return OutputTensor(name, tensor.shape, tensor.number_type(), tensor, transform=transform)


def merged(
    tensors: Mapping[str, OutputTensor],
    adapter: Adapter,
    ours: Mapping[str, str],
    changes: Mapping[str, Transform],
) -> dict[str, OutputTensor]:
    """Lay the adapter over the tensors: whole ones first, then low-rank changes, then rows.

    All are by their names in the checkpoint; `ours` says how the result calls each, `changes` what else becomes
    of it. Raises TakebackError for what does not fit.
    """
    result = dict(tensors)
    for name, stored in adapter.whole.items():
        if name not in ours:
            raise TakebackError(
                f"{adapter.path}: holds {clean_line(name[:80])}, which the model does not have"
            )
        result[name] = output(ours[name], stored, changes.get(name, UNCHANGED))
    tied = HEAD not in result
    for name, lora in adapter.loras.items():
        if name not in result or (tied and name == EMBEDDING):
            why = "whose head is tied to it" if name in result else "which the model does not have"
            raise TakebackError(f"{adapter.path}: changes {clean_line(name[:80])}, {why}; merge it with PEFT")
        result[name] = replace(result[name], lora=lora)
    for name, rows in adapter.rows.items():
        if name == HEAD and tied:
            _check_same_rows(adapter, rows)
        elif name not in (EMBEDDING, HEAD) or name not in result:
            raise TakebackError(
                f"{adapter.path}: has rows of {clean_line(name[:80])}, which cannot be replaced"
            )
        else:
            result[name] = _grown(adapter, result[name], rows)
    return result


def _check_same_rows(adapter: Adapter, rows: Rows) -> None:
    mine = adapter.rows.get(EMBEDDING)
    if mine is None or mine.ids != rows.ids or not np.array_equal(mine.values.values(), rows.values.values()):
        raise TakebackError(
            f"{adapter.path}: has other rows for the head than for the embedding it is tied to"
        )


def _grown(adapter: Adapter, tensor: OutputTensor, rows: Rows) -> OutputTensor:
    """The tensor with the rows in it, which may lie behind its last one but leave no gap."""
    have, width = tensor.shape
    beyond = sorted(i for i in rows.ids if i >= have)
    if rows.values.shape[1] != width:
        raise TakebackError(
            f"{adapter.path}: its rows have {rows.values.shape[1]} numbers, and the base's {width}"
        )
    if beyond != list(range(have, have + len(beyond))):
        raise TakebackError(f"{adapter.path}: its rows {beyond} do not follow on the base's {have:,}")
    return replace(tensor, shape=(have + len(beyond), width), rows=rows)


def without_tied_head(tensors: dict[str, OutputTensor], *, tied: bool) -> dict[str, OutputTensor]:
    """Drop a head that is the embedding again. The tensors decide, whatever config.json says.

    But where an adapter has rows of the embedding alone, `tied` says whether they are the head's too.
    """
    head, embedding = tensors.get(HEAD), tensors.get(EMBEDDING)
    if head is None or embedding is None or head.lora is not None or embedding.lora is not None:
        return tensors
    if head.source is None or embedding.source is None or not _equal(head.source, embedding.source):
        return tensors
    if head.rows is None and embedding.rows is not None and not tied:
        return tensors
    if head.rows is not None and not _same_rows(head.rows, embedding.rows):
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name != HEAD}


def _same_rows(one: Rows, other: Rows | None) -> bool:
    return (
        other is not None
        and one.ids == other.ids
        and np.array_equal(one.values.values(), other.values.values())
    )


def _equal(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(np.array_equal(a, b) for a, b in zip(_pieces(one), _pieces(other), strict=True))


def _pieces(tensor: StoredTensor) -> Iterator[numbers.Bytes]:
    step = max(1, tensor.rows * (1 << 22) // tensor.nbytes)
    for first in range(0, tensor.rows, step):
        yield tensor.read(first, min(step, tensor.rows - first))


def _check_head(tensors: Mapping[str, OutputTensor], family: ModuleType | None) -> None:
    if family is not None and not family.OWN_HEAD and HEAD in tensors:
        raise TakebackError(
            f"the head is not the embedding, and llama.cpp's {family.GGUF} has no head of its own; tie them again"
        )


def check_heads_rows(tensors: Mapping[str, OutputTensor]) -> None:
    """Refuse a head that has not as many rows as the embedding."""
    head, embedding = tensors.get(HEAD), tensors.get(EMBEDDING)
    if head is not None and embedding is not None and head.shape[0] != embedding.shape[0]:
        raise TakebackError(
            f"the embedding has {embedding.shape[0]:,} rows and the head {head.shape[0]:,}; "
            "a new token needs a row in both"
        )


def typed(tensor: OutputTensor, wanted: int, protect: int | None, *, quantized_later: bool) -> OutputTensor:
    """The tensor in the type in which it is written.

    Norms and all else of one dimension are F32. The embedding and the head, which hold the reset token's
    rows, are at least of the type `protect`. Rows that do not divide into the type's blocks become F16. What
    llama.cpp is to quantize later stays as it is where that is possible, and becomes F32 where it is changed.
    """
    if len(tensor.shape) == 1:
        return replace(tensor, ggml_type=numbers.F32)
    if quantized_later:
        encodable = tensor.ggml_type in numbers.ENCODABLE.values()
        same = tensor.lora is None and (tensor.done or not tensor.transform.calculates)
        kept = same and (tensor.rows is None or encodable)
        return replace(tensor, ggml_type=tensor.ggml_type if kept else numbers.F32)
    if protect is not None and tensor.name in ("token_embd.weight", "output.weight"):
        wanted = max(wanted, protect, key=bits)
    return replace(tensor, ggml_type=numbers.F16 if tensor.shape[-1] % GGML_TYPES[wanted][1] else wanted)


def bits(ggml_type: int) -> float:
    """Bits a weight of a tensor type."""
    _, block, size = GGML_TYPES[ggml_type]
    return size * 8 / block
