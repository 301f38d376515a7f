"""Logits of a GGUF file by llama.cpp, in float32 as far as llama.cpp goes."""

import os
from contextlib import contextmanager

import llama_cpp.llama_cpp as llama
import numpy as np

import assistant.engine.libllama  # noqa: F401 (it takes what llama.cpp logs: a callback of our own would displace it)


@contextmanager
def _loaded(path):
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    assert model, path
    try:
        yield model
    finally:
        llama.llama_model_free(model)


def logits(path, ids):
    """Logits [len(ids), vocabulary] after each token."""
    with _loaded(path) as model:
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = 0  # float32; the default is float16
        params.flash_attn_type = 0
        context = llama.llama_init_from_model(model, params)
        batch = llama.llama_batch_init(len(ids), 0, 1)
        try:
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
                batch.seq_id[i][0], batch.logits[i] = 0, 1
            batch.n_tokens = len(ids)
            assert llama.llama_decode(context, batch) == 0
            size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
            found = np.ctypeslib.as_array(llama.llama_get_logits(context), (len(ids), size))
            return found.copy()
        finally:
            llama.llama_batch_free(batch)
            llama.llama_free(context)
