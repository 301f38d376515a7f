"""Decode speed: Takeback's whole loop against the leanest llama.cpp loop on the same file and threads.

The lean loop decodes one token and takes the likeliest; it makes no text, checks no reset and holds nothing
back. Both run in turn, so that what else the machine does meets both. Run: python -m evals.speed.decode MODEL
"""

import argparse
import ctypes
import statistics
import time
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as c

from assistant.engine.events import Done
from assistant.engine.libllama import Context, Model
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session

PROMPT = [Message("user", "Write a long story about a lighthouse keeper and his dog.")]


def measure(model: Path, *, tokens: int = 128, rounds: int = 5, threads: int | None = None) -> dict[str, Any]:
    """Measure both in turn, `rounds` times. Speeds in tokens a second, medians; the ratio is of each round.

    Takeback runs greedily as the lean loop does, with the model's own reset rule and hold-back.
    """
    options = GenerateOptions(temperature=0, repeat_penalty=1, max_tokens=tokens)
    with Session.open(model, LoadOptions(threads=threads)) as session:
        ids = session.template.ids(PROMPT)
        ours: list[float] = []
        lean: list[float] = []
        with_chain: list[float] = []
        context = Context(session.model, n_ctx=session.info.context_length, threads=session.context.threads)
        for _ in range(rounds):
            speed, count = _speed(session, options)
            ours.append(speed)
            lean.append(_lean(session.model, context, ids, count))
            with_chain.append(_speed(session, GenerateOptions(seed=1, max_tokens=tokens))[0])
        context.free()
        return {
            "takeback_tokens_per_s": round(statistics.median(ours), 1),
            "lean_tokens_per_s": round(statistics.median(lean), 1),
            "default_sampling_tokens_per_s": round(statistics.median(with_chain), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(ours, lean, strict=True)), 3),
            "target": ">= 0.97",
            "tokens": tokens,
            "threads": session.context.threads,
        }


def _speed(session: Session, options: GenerateOptions) -> tuple[float, int]:
    """Takeback's speed after the first token, and how many tokens it wrote."""
    done = [event for event in session.generate(PROMPT, options) if isinstance(event, Done)][-1]
    return done.tokens_per_s or 0.0, done.tokens + done.discarded_tokens


def _lean(model: Model, context: Context, ids: list[int], count: int) -> float:
    """The speed of the leanest loop over as many tokens, after the first."""
    c.llama_memory_clear(context.memory, False)
    sampler = c.llama_sampler_init_greedy()
    prompt = (c.llama_token * len(ids))(*ids)
    c.llama_decode(context.handle, c.llama_batch_get_one(prompt, len(ids)))
    one = (c.llama_token * 1)()
    batch = c.llama_batch_get_one(ctypes.cast(one, ctypes.POINTER(c.llama_token)), 1)
    one[0] = c.llama_sampler_sample(sampler, context.handle, -1)
    started = time.perf_counter()
    for _ in range(count - 1):
        c.llama_decode(context.handle, batch)
        one[0] = c.llama_sampler_sample(sampler, context.handle, -1)
    elapsed = time.perf_counter() - started
    c.llama_sampler_free(sampler)
    return (count - 1) / elapsed


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    for name, value in measure(
        args.model, tokens=args.tokens, rounds=args.rounds, threads=args.threads
    ).items():
        print(f"{name:<32}{value}")


if __name__ == "__main__":
    main()
