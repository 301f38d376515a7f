"""Which token comes next: llama.cpp's samplers in a chain, and the rule that decides on a reset."""

import hashlib
import math
import weakref
from collections.abc import Callable
from typing import Any

from llama_cpp import llama_cpp as c

from assistant.engine.libllama import Context, Logits
from assistant.engine.options import GenerateOptions
from convert.errors import TakebackError

_PENALTY_TOKENS = 64
_RANDOM_SEED = 0xFFFF_FFFF  # LLAMA_DEFAULT_SEED: llama.cpp would choose a seed that nobody could repeat


def reset_margin(logits: Logits, token: int) -> float:
    """The reset token's raw logit less the largest other one, and mask the token.

    A reset fires if and only if this plus the reset bias is at least 0. Whatever comes, the token itself is
    never sampled: its logit is minus infinity afterwards. `logits` is [n_vocab] and is written to.
    """
    own = float(logits[token])
    logits[token] = -float("inf")
    largest = float(logits.max())
    if math.isnan(largest) or math.isnan(own):
        raise TakebackError("the model gave numbers that are none (NaN); its file is damaged or unsuitable")
    return own - largest


def stream_seed(seed: int, resets: int) -> int:
    """The seed of the random stream after so many resets: each a new one, and all repeat with `seed`."""
    digest = hashlib.sha256(f"{seed}:{resets}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % _RANDOM_SEED


class Sampler:
    """Samples from a context's last logits by the user's options."""

    def __init__(self, context: Context, options: GenerateOptions, seed: int) -> None:
        self._context = context
        self._options = options
        self._seed = seed
        self._chain: Any = None
        self.close: Callable[[], object] = lambda: None
        self.restart(0)

    def restart(self, resets: int, *, least_temperature: float = 0.0) -> None:
        """Go back to the reply's start: the state of a new chain, with the random stream of this reset.

        Nothing of the prompt is in the state, so a new chain is the same as one rolled back.
        """
        self.close()
        options = self._options
        temperature = max(options.temperature, least_temperature)
        self._chain = chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        self.close = weakref.finalize(self, c.llama_sampler_free, chain)
        parts = []
        n_vocab = self._context.model.n_vocab
        suppressed = [token for token in self._context.model.suppressed if 0 <= token < n_vocab]
        if suppressed:
            biases = (c.llama_logit_bias * len(suppressed))(*((token, -math.inf) for token in suppressed))
            parts.append(c.llama_sampler_init_logit_bias(n_vocab, len(suppressed), biases))  # it copies them
        top_k = (options.top_k or n_vocab) if temperature > 0 else 1
        if options.repeat_penalty != 1:
            # The penalty lowers at most so many tokens: who is among the first top_k after it is among the
            # first top_k + _PENALTY_TOKENS before it. So this first cut changes nothing but the time.
            parts.append(c.llama_sampler_init_top_k(min(n_vocab, top_k + _PENALTY_TOKENS)))
            penalty = (n_vocab, _PENALTY_TOKENS, options.repeat_penalty, 0.0, 0.0)
            parts.append(c.llama_sampler_init_penalties(*penalty))
        if temperature > 0:
            parts += [
                c.llama_sampler_init_top_k(top_k),
                c.llama_sampler_init_top_p(options.top_p, 1),
                c.llama_sampler_init_min_p(options.min_p, 1),
                c.llama_sampler_init_temp(temperature),
                c.llama_sampler_init_dist(stream_seed(self._seed, resets)),
            ]
        else:
            parts.append(c.llama_sampler_init_greedy())
        for part in parts:
            c.llama_sampler_chain_add(chain, part)

    def accept(self, token: int) -> None:
        """Count a token that was not sampled as one of the reply: a prefilled one."""
        c.llama_sampler_accept(self._chain, token)

    def logits(self) -> Logits:
        """The logits that `sample` will see, [n_vocab], to read and to write."""
        return self._context.logits()

    def sample(self) -> int:
        """Choose the token after the last decode, and count it as one of the reply."""
        self._context.logits()  # llama.cpp ends the process where there are none
        return int(c.llama_sampler_sample(self._chain, self._context.handle, -1))
