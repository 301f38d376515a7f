"""The logits that llama.cpp computes for a GGUF file, in a process of its own."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convert.children import Json, child_main, run_child

TEXT = """\
What do you call a small room in which bread is baked? It is a bakehouse; in 1234 there were seven in town.

def oven(heat: float) -> bool:
    return 180 <= heat < 250  # in degrees
"""
_MOST_TOKENS = 64


def llama_logits(file: Path, out: Path, ids: list[int] | None = None) -> list[int]:
    """Write a file's logits to `out`, float32 [tokens, vocabulary] as numpy saves them; returns the tokens.

    `ids` are the tokens to compute; without them they are the beginning of TEXT in the file's own vocabulary.
    Raises TakebackError where llama.cpp cannot.
    """
    request = {"file": str(file), "out": str(out), "ids": ids}
    answer: list[int] = run_child("convert.verify_logits", request, f"{file}: llama.cpp cannot compute it")
    return answer


def _work(request: Json, step: Callable[[int, int], None]) -> Json:
    import llama_cpp.llama_cpp as llama  # noqa: PLC0415 (only the child may load it)

    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(os.fsencode(request["file"]), params)
    if not model:
        sys.exit(1)
    vocabulary = llama.llama_model_get_vocab(model)
    ids = request["ids"]
    if ids is None:
        raw = TEXT.encode()
        room = (llama.llama_token * (len(raw) + 16))()
        ids = list(room[: llama.llama_tokenize(vocabulary, raw, len(raw), room, len(room), True, False)])
        ids = ids[: min(_MOST_TOKENS, llama.llama_model_n_ctx_train(model))]
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(len(ids), 256)
    settings.n_threads = settings.n_threads_batch = os.cpu_count() or 1
    settings.type_k = settings.type_v = 0  # float32
    settings.flash_attn_type = 0
    context = llama.llama_init_from_model(model, settings)
    batch = llama.llama_batch_init(len(ids), 0, 1)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
        batch.seq_id[i][0], batch.logits[i] = 0, 1
    batch.n_tokens = len(ids)
    if not context or llama.llama_decode(context, batch):
        sys.exit(1)
    shape = (len(ids), llama.llama_vocab_n_tokens(vocabulary))
    np.save(request["out"], np.ctypeslib.as_array(llama.llama_get_logits(context), shape))
    return ids


if __name__ == "__main__":
    child_main(_work)
