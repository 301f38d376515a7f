"""Other programs' ways to forget a draft and to go on, each as its users would do it, and each in its own process.

A peer reads prompts of token ids and says what comes next, greedily; what it keeps of a prompt that it has read
is its own affair. Run by `evals.speed.peers`, once a peer: python -m evals.peers NAME MODEL THREADS LENGTH,…
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from assistant.engine.common_beginning import common_beginning
from assistant.engine.options import LoadOptions
from assistant.engine.session import Session

DRAFT, REPLY, STEPS, ROUNDS = 40, 16, 24, 5
"""Tokens of a draft, of the reply after it, of a measured decode; and how often a reset is measured."""
_ROOM = 256
_NEW = "And in the mountains? Tell me in a few words what is different there. "
_TEXT = "The sea is wide and the sky is high. "
_FEW = 4
_MOST_BACKTRACK = 512

Row = dict[str, Any]


class Peer(Protocol):
    """A program with a model, a context and greedy sampling."""

    def first(self, ids: Sequence[int]) -> object:
        """Read this prompt, as much of it as must be, and choose the next token."""

    def steps(self, count: int) -> float:
        """Choose so many more tokens; returns the median milliseconds of one."""


class Lean:
    """llama.cpp by its C functions: `llama_memory_seq_rm` and a decode, and nothing else."""

    def __init__(self, model: Path, threads: int, room: int) -> None:
        from llama_cpp import llama_cpp as c  # noqa: PLC0415 (a peer's process loads only what it uses)

        from assistant.engine.libllama import Context, Model  # noqa: PLC0415

        self._c = c
        self._context = Context(Model(model), n_ctx=room, threads=threads)
        self._sampler = c.llama_sampler_init_greedy()
        self._one = (c.llama_token * 1)()
        self._held: list[int] = []

    def first(self, ids: Sequence[int]) -> int:
        """See Peer."""
        same = common_beginning(self._held, ids[:-1])
        self._c.llama_memory_seq_rm(self._context.memory, 0, same, -1)
        for start in range(same, len(ids), self._context.chunk):
            part = ids[start : start + self._context.chunk]
            tokens = (self._c.llama_token * len(part))(*part)
            self._c.llama_decode(self._context.handle, self._c.llama_batch_get_one(tokens, len(part)))
        self._held = list(ids)
        return self._choose()

    def _choose(self) -> int:
        self._one[0] = self._c.llama_sampler_sample(self._sampler, self._context.handle, -1)
        return int(self._one[0])

    def steps(self, count: int) -> float:
        """See Peer."""
        token = ctypes.cast(self._one, ctypes.POINTER(self._c.llama_token))
        batch = self._c.llama_batch_get_one(token, 1)

        def step() -> None:
            self._held.append(self._one[0])
            self._c.llama_decode(self._context.handle, batch)
            self._choose()

        return _median_ms(step, count)


class HighLevel:
    """`Llama.generate` of llama-cpp-python, which keeps the prefix that two prompts share."""

    def __init__(self, model: Path, threads: int, room: int) -> None:
        from llama_cpp import Llama  # noqa: PLC0415

        told = {"n_threads": threads, "n_threads_batch": threads, "n_batch": 256, "verbose": False}
        self._llama = Llama(str(model), n_ctx=room, **told)
        self._tokens: Iterator[int] = iter(())

    def first(self, ids: Sequence[int]) -> int:
        """See Peer."""
        self._tokens = self._llama.generate(list(ids), temp=0.0, repeat_penalty=1.0)
        return next(self._tokens)

    def steps(self, count: int) -> float:
        """See Peer."""
        return _median_ms(lambda: next(self._tokens), count)


class InProcessServer:
    """xllamacpp: llama-server in the process, asked with ids and `cache_prompt`."""

    def __init__(self, model: Path, threads: int, room: int) -> None:
        import xllamacpp  # noqa: PLC0415

        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.n_batch = str(model), room, 1, 256
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        self._server = xllamacpp.Server(params)
        self._ids: list[int] = []

    def first(self, ids: Sequence[int]) -> object:
        """See Peer."""
        self._ids = list(ids)
        return self._ask(1)

    def steps(self, count: int) -> float:
        """Of one request for all of them: a request for each would be no fair measure."""
        return float(self._ask(count)["timings"]["predicted_per_token_ms"])

    def _ask(self, count: int) -> Any:  # noqa: ANN401 (JSON)
        asked = {"n_predict": count, "cache_prompt": True, "temperature": 0, "ignore_eos": True}
        return self._server.handle_completions({"prompt": self._ids, **asked})


def _median_ms(step: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def _compare(peer: Peer, prompt: list[int], new: list[int], reset: int, reply: list[int]) -> Row:
    """The figures of a peer that reads prompts, at one length of prompt. Times in milliseconds."""
    started = time.perf_counter()
    peer.first(prompt)
    read = (time.perf_counter() - started) * 1e3
    decode = peer.steps(STEPS)
    resets = []
    for _ in range(ROUNDS):
        peer.first(prompt)
        peer.steps(DRAFT)
        started = time.perf_counter()
        peer.first([*prompt, reset])
        resets.append((time.perf_counter() - started) * 1e3)
    peer.steps(REPLY)
    started = time.perf_counter()
    peer.first([*prompt, *reply, *new])
    follow_up = (time.perf_counter() - started) * 1e3
    return {
        "reset_ms": statistics.median(resets),
        "step_ms": decode,
        "follow_up_ms": follow_up,
        "read_all_ms": read,
    }


def _new_only(peer: Lean, prompt: list[int], new: list[int], reply: list[int]) -> float:
    """Milliseconds to the first token after the new tokens alone, in a context that never knew a draft."""
    peer.first([*prompt, *reply])
    started = time.perf_counter()
    peer.first([*prompt, *reply, *new])
    return (time.perf_counter() - started) * 1e3


def _takeback(model: Path, threads: int, lengths: Sequence[int], room: int) -> list[Row]:
    """Ours: the whole loop, with its events, its hold-back and what it does when a reply has ended."""
    from evals.speed.reset import first_token_ms, reply_with_resets, reset_and_step  # noqa: PLC0415

    rows = []
    with Session.open(model, LoadOptions(ctx=room, threads=threads)) as session:
        for length in lengths:
            prompt, new, _, _ = _texts(session, length)
            session.memory.forget()
            started = time.perf_counter()
            for _ in session.memory.read(prompt):
                pass
            read = (time.perf_counter() - started) * 1e3
            reset, step = reset_and_step(reply_with_resets(session, prompt, ROUNDS, "rewind"))
            *_, done = reply_with_resets(session, prompt, 1, "rewind")
            follow_up = first_token_ms(session, [*prompt, *getattr(done, "ids", ()), *new])
            rows.append({"reset_ms": reset, "step_ms": step, "follow_up_ms": follow_up, "read_all_ms": read})
    return rows


def _backtrack(model: Path, threads: int, lengths: Sequence[int], room: int) -> list[Row | None]:
    """backtrack-sampler: a strategy that drops the draft once. It keeps every token's logits, and so has no room."""
    from backtrack_sampler import BacktrackSampler  # noqa: PLC0415
    from backtrack_sampler.provider.llamacpp_provider import LlamacppProvider  # noqa: PLC0415
    from backtrack_sampler.strategy.base_strategy import BaseStrategy  # noqa: PLC0415
    from llama_cpp import Llama, LlamaRAMCache  # noqa: PLC0415

    times: list[float] = []

    class DropOnce(BaseStrategy):  # type: ignore[misc]
        """Drops the first draft after _FEW tokens, and says when each token was chosen."""

        def __init__(self) -> None:
            self._dropped = False

        def get_keep_index(self) -> int:
            return 0

        def on_logits(self, logits: Any, _continuation: list[int]) -> Any:  # noqa: ANN401 (a tensor)
            return logits

        def on_probs(self, probs: Any, _continuation: list[int]) -> Any:  # noqa: ANN401
            return probs

        def on_next_token(self, _continuation: list[int], _probs: Any) -> None:  # noqa: ANN401
            times.append(time.perf_counter())

        def backtrack(self, continuation: list[int]) -> list[int]:
            if self._dropped or len(continuation) < _FEW:
                return continuation
            self._dropped = True
            return []

        def reset(self) -> None:
            self._dropped = False

    rows: list[Row | None] = []
    told = {"n_threads": threads, "n_threads_batch": threads, "verbose": False, "logits_all": True}
    fits = [length for length in lengths if length <= _MOST_BACKTRACK]
    llama = Llama(str(model), n_ctx=max(fits, default=0) + _ROOM, n_batch=256, **told)
    sampler = BacktrackSampler(LlamacppProvider(llama, LlamaRAMCache()), DropOnce())
    for length in lengths:
        if length not in fits:
            rows.append(None)
            continue
        text = _TEXT * max(1, length // 10)
        times[:] = [time.perf_counter()]
        list(sampler.generate(text, max_new_tokens=_FEW, temperature=0.0))
        gaps = [(b - a) * 1e3 for a, b in pairwise(times)]
        times[:] = [time.perf_counter()]
        list(sampler.generate(text + _NEW, max_new_tokens=1, temperature=0.0))
        follow_up = (times[1] - times[0]) * 1e3
        steps = statistics.median(gaps[1:_FEW])
        rows.append(
            {"reset_ms": gaps[_FEW], "step_ms": steps, "follow_up_ms": follow_up, "read_all_ms": gaps[0]}
        )
    return rows


def _texts(session: Session, length: int) -> tuple[list[int], list[int], int, list[int]]:
    """A prompt of so many tokens, the next turn's tokens, a token that stands for the reset, and a reply."""
    vocabulary, contract = session.vocabulary, session.info.contract
    prompt = vocabulary.tokenize(_TEXT * (length // 5))[:length]
    reset = contract.token_id if contract else vocabulary.eos or 0
    return prompt, vocabulary.tokenize(_NEW), reset, vocabulary.tokenize(_TEXT * 4)[:REPLY]


def _reads_prompts(kind: type) -> Callable[[Path, int, Sequence[int], int], list[Row | None]]:
    def rows(model: Path, threads: int, lengths: Sequence[int], room: int) -> list[Row | None]:
        with Session.open(model, LoadOptions(ctx=64, threads=1)) as session:
            texts = [_texts(session, length) for length in lengths]
        found: list[Row | None] = []
        peer = kind(model, threads, room)
        for prompt, new, reset, reply in texts:
            row = _compare(peer, prompt, new, reset, reply)
            if isinstance(peer, Lean):
                row["new_only_ms"] = _new_only(peer, prompt, new, reply)
            found.append(row)
        return found

    return rows


PEERS: dict[str, tuple[str, Callable[..., Sequence[Row | None]]]] = {
    "llama.cpp": ("llama_cpp", _reads_prompts(Lean)),
    "takeback": ("llama_cpp", _takeback),
    "Llama.generate": ("llama_cpp", _reads_prompts(HighLevel)),
    "xllamacpp": ("xllamacpp", _reads_prompts(InProcessServer)),
    "backtrack-sampler": ("backtrack_sampler", _backtrack),
}
"""By name: the package that it is in, and what measures it at several lengths of prompt."""


def installed() -> list[str]:
    """The peers that can be measured here. The leanest comes first: the others are measured against it."""
    return [name for name, (package, _) in PEERS.items() if find_spec(package)]


def main() -> None:
    """Measure one peer and print its figures as one line of JSON."""
    name, model, threads, lengths = sys.argv[1:]
    numbers = [int(length) for length in lengths.split(",")]
    rows = PEERS[name][1](Path(model), int(threads), numbers, max(numbers) + _ROOM)
    print(json.dumps(list(rows)))  # noqa: T201 (what the parent reads)


if __name__ == "__main__":
    main()
