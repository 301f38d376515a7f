"""What of a model is trained: the reset's row with a LoRA adapter, with all linear layers, or with everything."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from convert.errors import TakebackError
from train.output import inner, is_tied


def add_reset_token(model: Any, tokenizer: Any, text: str) -> int:
    """Give the reset token an id: that of an added token of this text, or a new one with a new embedding row."""
    known = tokenizer.get_vocab()
    if text in known and known[text] not in tokenizer.added_tokens_decoder:
        raise TakebackError(
            f"--reset-token {text!r} is an ordinary word of the base's vocabulary: name another"
        )
    if text not in known:
        tokenizer.add_special_tokens({"additional_special_tokens": [text]})
    reset_id = int(tokenizer.convert_tokens_to_ids(text))
    if reset_id >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(reset_id + 1, mean_resizing=False)
    return reset_id


def with_adapter(model: Any, reset_id: int, row: Any, rank: int) -> Any:
    """The model with a LoRA adapter on every linear layer and the reset row(s) trained, starting from `row` [d].

    Where input and output rows are two, `row` is the output's, and the input's starts at the mean of its kind.
    """
    tied = is_tied(model)
    mean = model.get_input_embeddings().weight.detach().float().mean(0)
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [name.rpartition(".")[2] for name, module in model.named_modules() if module in ends]
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices=[reset_id] if tied else {name: [reset_id] for name in names},
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, config)
    set_rows(wrapped, reset_id, row if tied else mean, row)
    return wrapped


def whole(model: Any, reset_id: int, row: Any, *, linear_only: bool) -> Any:
    """The model itself, trained: everything, or with `linear_only` what an adapter can hold (see below).

    Then norms, biases and the rows of other tokens keep still: the embedding is trained, but only the reset's row
    of it is given a gradient.
    """
    mean = model.get_input_embeddings().weight.detach().float().mean(0)
    set_rows(model, reset_id, row if is_tied(model) else mean, row)
    if not linear_only:
        return model.requires_grad_(True)
    model.requires_grad_(False)
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module not in ends:
            module.weight.requires_grad_(True)
    for weight in {id(end.weight): end.weight for end in ends}.values():
        weight.requires_grad_(True)
        weight.register_hook(lambda grad: _only_row(grad, reset_id))
    return model


def _only_row(grad: Any, reset_id: int) -> Any:
    kept = torch.zeros_like(grad)
    kept[reset_id] = grad[reset_id]
    return kept


def set_rows(model: Any, reset_id: int, given: Any, told: Any) -> None:
    """Put the reset's input row [d] and its output row [d] into a model; where they are one, the latter counts."""
    ends = (inner(model).get_input_embeddings(), inner(model).get_output_embeddings())
    with torch.no_grad():
        for end, row in zip(ends, (given, told), strict=True):
            adapter = getattr(end, "token_adapter", None)
            place = end.weight[reset_id] if adapter is None else adapter.trainable_tokens_delta["default"][0]
            place.copy_(row.to(place.dtype))


def rows_of(model: Any, reset_id: int) -> tuple[Any, Any]:
    """The reset's input row [d] and output row [d] of a plain transformers model."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return tuple(end.weight[reset_id].detach().clone() for end in ends)


def is_row(name: str, parameter: Any, linear_only: bool, model: Any) -> bool:
    """Whether a parameter holds the reset's row alone, as far as it is trained."""
    if "trainable_tokens" in name:
        return True
    ends = (inner(model).get_input_embeddings(), inner(model).get_output_embeddings())
    return linear_only and any(parameter is end.weight for end in ends)
