"""Where a model's logits come from: its last hidden state, its output matrix, and what is done to their product.

The training works on hidden states and the output matrix, never on the model's own logits, so that it must know what
a family does between the two: Gemma-2 bends its logits with a tanh, Granite and Cohere scale them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from peft import PeftModel

from convert.errors import TakebackError


class LogitRule(NamedTuple):
    """logit = cap tanh(scale w.h / cap), or scale w.h where there is no cap (0)."""

    scale: float = 1.0
    cap: float = 0.0


PLAIN = LogitRule()
AGREES = 0.03
"""How far the rule may be from the model's own logits, relative to their size: bfloat16 rounds either."""


def shaped(products: Any, rule: LogitRule) -> Any:
    """The logits of products w.h, of any shape."""
    scaled = products if rule.scale == 1.0 else products * rule.scale
    return rule.cap * torch.tanh(scaled / rule.cap) if rule.cap else scaled


def slope(logits: Any, rule: LogitRule) -> Any:
    """The derivative of `shaped` with respect to the product, at the logits that it gave."""
    return rule.scale * (1.0 - (logits / rule.cap) ** 2) if rule.cap else torch.full_like(logits, rule.scale)


def inner(model: Any) -> Any:
    """The transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def backbone(model: Any) -> Any:
    """The part that gives last hidden states, after the final norm."""
    return inner(model).base_model


def is_tied(model: Any) -> bool:
    """Whether the output matrix of a plain transformers model is its embedding."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def output_rows(model: Any, reset_id: int) -> tuple[Any, Any]:
    """The output matrix [v, d] and the reset's row [d].

    Under an adapter the matrix is frozen, with the reset's untrained row in it, and the row is the trained one.
    """
    head = inner(model).get_output_embeddings()
    adapter = getattr(head, "token_adapter", None)
    if adapter is None:
        return head.weight, head.weight[reset_id]
    return adapter.get_base_layer().weight.detach(), adapter.trainable_tokens_delta["default"][0]


def logit_rule(model: Any) -> LogitRule:
    """The rule by which a plain transformers model makes its logits, tried against the model itself.

    Raises TakebackError where none fits: its losses would be those of another model.
    """
    head = model.get_output_embeddings()
    name = model.config.model_type
    if head is None or getattr(head, "weight", None) is None or getattr(head, "bias", None) is not None:
        raise TakebackError(
            f"a base of the kind {name} cannot be trained: its output is no matrix without a bias"
        )
    text = model.config.get_text_config()
    ids = torch.arange(min(16, head.weight.shape[0]), device=model.device)[None]
    with torch.inference_mode():
        own = model(ids).logits.float()
        products = (model.base_model(ids).last_hidden_state.to(head.weight.dtype) @ head.weight.T).float()
    cap = float(getattr(text, "final_logit_softcapping", None) or 0.0)
    scales = [1.0, *(float(value) for value in _scales(text))]
    for rule in (LogitRule(scale, cap) for scale in scales):
        if (shaped(products, rule) - own).norm() <= AGREES * own.norm():
            return rule
    raise TakebackError(
        f"a base of the kind {name} cannot be trained: its logits are made in a way not known here"
    )


def _scales(config: Any) -> list[float]:
    given = [getattr(config, name, None) for name in ("logit_scale", "logits_scaling")]
    known = [float(value) for value in given if value]
    return [scale for value in known for scale in (value, 1.0 / value)]
