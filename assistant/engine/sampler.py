"""Which token comes next: llama.cpp's samplers in a chain, and the rule that decides on a reset."""

import ctypes
import hashlib
import math
from typing import Any

from llama_cpp import llama_cpp as c

from assistant.engine.constraint import Constraint
from assistant.engine.libllama import Logits, Owned
from assistant.engine.options import GenerateOptions
from assistant.engine.strand import Strand
from convert.errors import TakebackError

_PENALTY_TOKENS, _DRY_TOKENS = 64, 512
"""How far back the two look for what was said before."""
_DRY_BASE, _DRY_ALLOWED = 1.75, 2
_DRY_BREAKERS = (b"\n", b":", b'"', b"*")
_XTC_THRESHOLD = 0.1
_MIROSTAT_RATE = 0.1
_DRAWING = (b"dist", b"xtc", b"mirostat-v2")
"""What choosing itself changes, and not only what is then accepted."""
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


def stream_seed(seed: int, resets: int, use: str = "") -> int:
    """The seed of a random stream after so many resets: each a new one, and all repeat with `seed`.

    Two samplers of one chain need two: with equal draws, one's choice would tell the other's.
    """
    digest = hashlib.sha256(f"{seed}:{resets}{use}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % _RANDOM_SEED


class Sampler:
    """Samples from a context's last logits by the user's options, and within a grammar if there is one."""

    def __init__(
        self, context: Strand, options: GenerateOptions, seed: int, constraint: Constraint | None = None
    ) -> None:
        self._context = context
        self._constraint = constraint
        self._options = options
        self._seed = seed
        # It goes through the whole vocabulary for its breakers: once, and each chain gets a copy.
        self._dry = Owned(_dry(context, options.dry)) if options.dry else None
        self._chain = Owned(None)
        self._drawing: list[Any] = []
        self.restart(0)

    def close(self) -> None:
        """Free what llama.cpp holds. May be called twice."""
        self._free_chain()
        if self._dry:
            self._dry.free()
        if self._constraint:
            self._constraint.close()

    def restart(self, resets: int, *, least_temperature: float = 0.0) -> None:
        """Go back to the reply's start: the state of a new chain, with the random streams of this reset.

        Nothing of the prompt is in the state, so a new chain is the same as one rolled back.
        """
        if self._constraint:
            self._constraint.restart()
        self._free_chain()
        self._chain = Owned(c.llama_sampler_chain_init(c.llama_sampler_chain_default_params()))
        parts = self._parts(resets, max(self._options.temperature, least_temperature))
        for part in parts:
            c.llama_sampler_chain_add(self._chain.handle, part)
        self._drawing = [part for part in parts if c.llama_sampler_name(part) in _DRAWING]

    def _free_chain(self) -> None:
        """Free the chain. The last tokens stand in its rings, in order, and freed memory keeps its bytes."""
        options = self._options
        longest = max(_PENALTY_TOKENS * (options.repeat_penalty != 1), _DRY_TOKENS * bool(options.dry))
        if self._chain.handle and self._chain.free.alive:
            for _ in range(longest):
                c.llama_sampler_accept(self._chain.handle, 0)
        self._chain.free()

    def _parts(self, resets: int, temperature: float) -> list[Any]:
        """New samplers in the order in which they work, which the chain then owns."""
        options, parts = self._options, []
        n_vocab = self._context.model.n_vocab
        suppressed = [token for token in self._context.model.suppressed if 0 <= token < n_vocab]
        if suppressed:
            biases = (c.llama_logit_bias * len(suppressed))(*((token, -math.inf) for token in suppressed))
            parts.append(c.llama_sampler_init_logit_bias(n_vocab, len(suppressed), biases))  # it copies them
        surprise = options.mirostat if temperature > 0 else 0
        top_k = 1 if temperature == 0 else n_vocab if surprise or not options.top_k else options.top_k
        lowered = (options.repeat_penalty != 1) * _PENALTY_TOKENS + bool(options.dry) * _DRY_TOKENS
        if lowered:
            # So many tokens at most are lowered: who is among the first top_k after it is among the first
            # top_k + lowered before it. So this first cut changes nothing but the time.
            parts.append(c.llama_sampler_init_top_k(min(n_vocab, top_k + lowered)))
        if options.repeat_penalty != 1:
            penalty = (n_vocab, _PENALTY_TOKENS, options.repeat_penalty, 0.0, 0.0)
            parts.append(c.llama_sampler_init_penalties(*penalty))
        if self._dry:
            parts.append(c.llama_sampler_clone(self._dry.handle))
        if temperature == 0:
            return [*parts, c.llama_sampler_init_greedy()]
        if not surprise:
            parts += [
                c.llama_sampler_init_top_k(top_k),
                c.llama_sampler_init_top_p(options.top_p, 1),
                c.llama_sampler_init_min_p(options.min_p, 1),
            ]
        if options.xtc:
            seed = stream_seed(self._seed, resets, ":xtc")
            parts.append(c.llama_sampler_init_xtc(options.xtc, _XTC_THRESHOLD, 1, seed))
        parts.append(c.llama_sampler_init_temp(temperature))
        seed = stream_seed(self._seed, resets)
        if surprise:
            return [*parts, c.llama_sampler_init_mirostat_v2(seed, surprise, _MIROSTAT_RATE)]
        return [*parts, c.llama_sampler_init_dist(seed)]

    def accept(self, token: int) -> None:
        """Count a token as one of the reply. Raises TakebackError if it does not fit the grammar."""
        if self._constraint:
            self._constraint.accept(token)
        c.llama_sampler_accept(self._chain.handle, token)

    def logits(self) -> Logits:
        """The logits that `sample` will see, [n_vocab], to read and to write."""
        return self._context.logits()

    def sample(self) -> int:
        """Choose the token after the last decode, and count it as one of the reply."""
        logits = self._context.logits()  # llama.cpp ends the process where there are none
        if self._constraint:
            before = [Owned(c.llama_sampler_clone(part)) for part in self._drawing]

            def undo() -> None:
                for state, part in zip(before, self._drawing, strict=True):
                    c.llama_sampler_copy(state.handle, part)

            token = self._constraint.choose(logits, self._chain.handle, undo)
            self.accept(token)
            return token
        context = self._context
        with context.lock:
            return int(c.llama_sampler_sample(self._chain.handle, context.handle, context.output))


def _dry(context: Strand, strength: float) -> Any:  # noqa: ANN401 (a handle)
    """A sampler that lowers what would repeat a run of tokens, the more the longer the run."""
    breakers = (ctypes.c_char_p * len(_DRY_BREAKERS))(*_DRY_BREAKERS)
    numbers = (strength, _DRY_BASE, _DRY_ALLOWED, _DRY_TOKENS)
    return c.llama_sampler_init_dry(context.model.vocab, *numbers, breakers, len(breakers))
