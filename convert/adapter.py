"""A PEFT LoRA adapter: what it adds to which tensor, what it replaces, and what is refused by name.

Formats: `adapter_config.json` and `adapter_model.safetensors` as PEFT writes them. PEFT's names are read here
and nowhere else; from here on a tensor is called as in the checkpoint. `trainable_tokens_delta` holds the
rows themselves and not a difference, in spite of its name.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.checkpoint import Json, StoredTensor, read_json, safetensors_tensors
from convert.errors import TakebackError
from convert.peft_pattern import pattern_value
from convert.untrusted import clean_line

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_UNDERSTOOD = frozenset(
    (
        *("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"),
        *("trainable_token_indices",),
        *("modules_to_save", "ensure_weight_tying", "bias", "init_lora_weights"),
        # what only matters in training, says what the tensors' names say again, or, as fan_in_fan_out, is of
        # layers that no family here has: PEFT itself sets it back for a linear layer
        *(
            "task_type",
            "auto_mapping",
            "peft_version",
            "base_model_name_or_path",
            "revision",
            "inference_mode",
            "fan_in_fan_out",
        ),
        *("target_modules", "exclude_modules", "lora_dropout", "layers_to_transform", "layers_pattern"),
        *("megatron_core", "loftq_config", "eva_config", "qalora_group_size", "runtime_config"),
    )
)
_LARGEST_ALPHA = 1e30
_ROWS = 1024
_KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva")
"""The ways to begin an adapter that leave the base's weights as they are."""


@dataclass(frozen=True)
class Lora:
    """A low-rank change: weight [out, in] += scale x (b [out, r] @ a [r, in]).

    Of an embedding, `a` and `b` are stored the other way round: weight [rows, width] += scale x (b @ a)
    transposed, which `of_embedding` says. With `magnitude` [out] (DoRA), each row of the changed weight is then
    brought to that length.
    """

    a: StoredTensor
    b: StoredTensor
    scale: float
    of_embedding: bool = False
    magnitude: StoredTensor | None = None


@dataclass(frozen=True)
class Rows:
    """Rows that stand in place of a tensor's own, or behind its last: values [len(ids), width]."""

    ids: tuple[int, ...]
    values: StoredTensor


@dataclass(frozen=True)
class Adapter:
    """An open adapter; every key is a tensor's name in the checkpoint. `stored` is all its tensors."""

    path: Path
    loras: Mapping[str, Lora]
    rows: Mapping[str, Rows]
    whole: Mapping[str, StoredTensor]
    stored: Mapping[str, StoredTensor]


@contextmanager
def open_adapter(folder: Path) -> Iterator[Adapter]:
    """Open an adapter's folder. Raises TakebackError for what cannot be merged rightly, by name."""
    if not folder.is_dir():
        raise TakebackError(f"{folder}: no adapter's folder; give the folder that holds {_CONFIG}")
    if not (folder / _WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise TakebackError(
            f"{folder}: adapter_model.bin is a pickle file, which is never read; save safetensors"
        )
    config = read_json(folder / _CONFIG)
    _refuse_unknown(folder, config)
    with ExitStack() as files:
        stored = safetensors_tensors(folder / _WEIGHTS, files)
        yield _sorted_out(folder, config, stored)


def _refuse_unknown(folder: Path, config: Mapping[str, Json]) -> None:
    """Refuse every setting that changes the merge and is not done here, and every one that is not known."""
    if config.get("peft_type") != "LORA":
        raise TakebackError(
            f"{folder}: peft_type is {_shown(config.get('peft_type'))}; only LORA can be merged"
        )
    wrong = [name for name, value in config.items() if value and name not in _UNDERSTOOD]
    if config.get("bias", "none") != "none":
        wrong.append("bias")
    if config.get("init_lora_weights", True) not in _KEEPS_BASE:
        wrong.append(f"init_lora_weights={config['init_lora_weights']}")
    if wrong:
        names = _shown(", ".join(sorted(wrong)))
        raise TakebackError(
            f"{folder}: cannot be merged rightly, because of {names}; "
            "merge it with PEFT and convert the result"
        )


def _shown(value: object) -> str:
    return clean_line(str(value)[:80])


def _sorted_out(folder: Path, config: Mapping[str, Json], stored: Mapping[str, StoredTensor]) -> Adapter:
    """Say of each of the adapter's tensors what it does; none may be left over."""
    sides: dict[str, dict[str, StoredTensor]] = {}
    rows: dict[str, Rows] = {}
    whole: dict[str, StoredTensor] = {}
    indices = _token_indices(folder, config)
    for key, tensor in stored.items():
        name = key.removeprefix(_PREFIX)
        module, _, part = name.partition(".lora_")
        if name == key:
            raise TakebackError(f"{folder}: the tensor {_shown(key)} is not named as PEFT names it")
        if part in ("A.weight", "B.weight", "embedding_A", "embedding_B", "magnitude_vector"):
            sides.setdefault(module + ".weight", {})[part] = tensor
        elif name.endswith("token_adapter.trainable_tokens_delta"):
            module = name.removesuffix(".token_adapter.trainable_tokens_delta")
            rows[module + ".weight"] = _rows(folder, module, indices, tensor)
        elif part or ".token_adapter." in name:
            raise TakebackError(f"{folder}: the tensor {_shown(key)} is of a kind that cannot be merged")
        elif ".original_module." not in name:  # that one is what modules_to_save replaces
            _add_whole(
                folder, whole, name.replace(".base_layer.", ".").replace(".modules_to_save.", "."), tensor
            )
    loras = {name: _lora(folder, name, parts, config) for name, parts in sides.items()}
    _check_whole(folder, config, whole, rows)
    return Adapter(folder, loras, rows, whole, stored)


def _add_whole(folder: Path, whole: dict[str, StoredTensor], name: str, tensor: StoredTensor) -> None:
    """Take a whole tensor; PEFT may save one twice, under two names, when the embedding was resized."""
    first = whole.setdefault(name, tensor)
    if first is tensor:
        return
    same = (first.dtype, first.shape) == (tensor.dtype, tensor.shape) and all(
        np.array_equal(first.read(i, min(_ROWS, first.rows - i)), tensor.read(i, min(_ROWS, first.rows - i)))
        for i in range(0, first.rows, _ROWS)
    )
    if not same:
        raise TakebackError(f"{folder}: holds {_shown(name)} twice, and not the same")


def _token_indices(folder: Path, config: Mapping[str, Json]) -> dict[str, tuple[int, ...]]:
    """Module name → token ids; PEFT allows a bare list, which means the embedding."""
    given = config.get("trainable_token_indices") or {}
    if isinstance(given, list):
        given = {"embed_tokens": given}
    valid = isinstance(given, dict) and all(
        isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids) and len(set(ids)) == len(ids)
        for ids in given.values()
    )
    if not valid:
        raise TakebackError(f"{folder / _CONFIG}: trainable_token_indices is no list of token ids")
    return {name: tuple(ids) for name, ids in given.items()}


def _rows(folder: Path, module: str, indices: Mapping[str, tuple[int, ...]], tensor: StoredTensor) -> Rows:
    ids = [ids for name, ids in indices.items() if module == name or module.endswith("." + name)]
    if not ids and module == "lm_head":  # a head tied to the embedding shares the embedding's ids
        ids = list(indices.values())
    if len(ids) != 1 or len(tensor.shape) != 2 or tensor.shape[0] != len(ids[0]):
        raise TakebackError(
            f"{folder}: the new rows of {_shown(module)} do not fit trainable_token_indices in {_CONFIG}"
        )
    return Rows(ids[0], tensor)


def _lora(folder: Path, name: str, parts: Mapping[str, StoredTensor], config: Mapping[str, Json]) -> Lora:
    of_embedding = "embedding_A" in parts
    a = parts.get("embedding_A" if of_embedding else "A.weight")
    b = parts.get("embedding_B" if of_embedding else "B.weight")
    magnitude = parts.get("magnitude_vector")
    if a is None or b is None or len(parts) != 2 + (magnitude is not None):
        raise TakebackError(f"{folder}: the change of {_shown(name)} has not one A and one B")
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or not a.shape[0]:
        raise TakebackError(f"{folder}: the change of {_shown(name)} has A and B that do not fit each other")
    module = name.removesuffix(".weight")
    rank = pattern_value(folder / _CONFIG, config, "rank_pattern", module, config.get("r"))
    if rank != a.shape[0]:
        raise TakebackError(
            f"{folder}: the change of {_shown(name)} has rank {a.shape[0]}, and {_CONFIG} says otherwise"
        )
    alpha = pattern_value(folder / _CONFIG, config, "alpha_pattern", module, config.get("lora_alpha"))
    if type(alpha) not in (int, float) or not abs(alpha) < _LARGEST_ALPHA:
        raise TakebackError(f"{folder / _CONFIG}: lora_alpha or alpha_pattern is no usable number")
    _check_magnitude(folder, name, b, magnitude, config, of_embedding=of_embedding)
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Lora(a, b, scale, of_embedding, magnitude)


def _check_magnitude(
    folder: Path,
    name: str,
    b: StoredTensor,
    magnitude: StoredTensor | None,
    config: Mapping[str, Json],
    *,
    of_embedding: bool,
) -> None:
    """DoRA's lengths: one for each row. An embedding's are of its columns, which needs all rows at once."""
    if bool(config.get("use_dora")) != (magnitude is not None):
        raise TakebackError(f"{folder}: use_dora is not what the change of {_shown(name)} says")
    if magnitude is None:
        return
    if of_embedding:
        raise TakebackError(
            f"{folder}: cannot be merged rightly, because of use_dora on {_shown(name)}; "
            "merge it with PEFT and convert the result"
        )
    if magnitude.shape != b.shape[:1]:
        raise TakebackError(f"{folder}: the change of {_shown(name)} has not a magnitude for each row")


def _check_whole(
    folder: Path, config: Mapping[str, Json], whole: Mapping[str, StoredTensor], rows: Mapping[str, Rows]
) -> None:
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(module, str) for module in saved):
        raise TakebackError(f"{folder / _CONFIG}: modules_to_save is no list of names")
    for module in saved:
        if not any(name.endswith(f"{module}.weight") for name in whole):
            raise TakebackError(f"{folder}: holds no tensor of {_shown(module)}, which modules_to_save names")
    embedding = any(EMBEDDING.removesuffix(".weight").endswith(module) for module in saved)
    if embedding and HEAD not in whole and not config.get("ensure_weight_tying"):
        raise TakebackError(
            f"{folder}: modules_to_save holds embed_tokens without lm_head, so it is not known which head "
            "it was trained with; merge it with PEFT and convert the result"
        )
    both = sorted(set(whole) & set(rows))
    if both:
        raise TakebackError(f"{folder}: {_shown(both[0])} is there whole and as single rows")
