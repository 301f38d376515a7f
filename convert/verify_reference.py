"""The logits that transformers computes for a checkpoint, with PEFT's adapter on it, in a process of its own.

This is the one part of conversion that knows transformers, and it asks for it only to prove a result.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from convert.children import Json, child_main, run_child


def missing_packages(*, with_adapter: bool) -> list[str]:
    """What must be installed before `reference_logits` can be asked, and is not."""
    needed = ("torch", "transformers", *(("peft",) if with_adapter else ()))
    return [name for name in needed if find_spec(name) is None]


def reference_logits(folder: Path, adapter: Path | None, rows: int, ids: list[int], out: Path) -> None:
    """Write the logits to `out`, float32 [tokens, vocabulary] as numpy saves them.

    `rows` is how many rows the embedding has with the adapter. Raises TakebackError where transformers fails.
    """
    request = {"folder": str(folder), "adapter": adapter and str(adapter), "rows": rows, "ids": ids}
    run_child(
        "convert.verify_reference", request | {"out": str(out)}, f"{folder}: transformers cannot compute it"
    )


def _work(request: Json, step: Callable[[int, int], None]) -> Json:
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415 (an extra, and slow)
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model = AutoModelForCausalLM.from_pretrained(
        request["folder"],
        dtype=torch.float32,
        attn_implementation="eager",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    if model.get_input_embeddings().weight.shape[0] < request["rows"]:
        model.resize_token_embeddings(request["rows"], mean_resizing=False)
    if request["adapter"] is not None:
        from peft import PeftModel  # noqa: PLC0415

        model = PeftModel.from_pretrained(model, request["adapter"])
    model.eval()
    with torch.no_grad():
        np.save(request["out"], model(torch.tensor([request["ids"]])).logits[0].float().numpy())
    return True


if __name__ == "__main__":
    child_main(_work)
