"""Several requests at once, batched in one context, against the same ones in turn.

Also the same of llama-server, where xllamacpp has it, in a process of its own. Each request reads another prompt
and writes as many tokens, greedily. Run: python -m evals.speed.parallel MODEL
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from assistant.engine.generate import ResetRule, generate
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.parallel import open_sessions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.session import Session
from assistant.engine.threads import physical_cores
from assistant.engine.voice import Voice
from convert.errors import TakebackError
from evals.speed.own_process import in_own_process

_TEXT = "The sea is wide and the sky is high. "
_GREEDY = GenerateOptions(temperature=0, repeat_penalty=1, seed=1)
_ROOM = 32


def measure(
    model: Path,
    *,
    threads: int | None = None,
    count: int = 4,
    prompt: int = 128,
    tokens: int = 64,
    rounds: int = 3,
) -> dict[str, Any]:
    """Measure `count` requests of so many tokens of prompt and of reply, `rounds` times. Medians.

    The ratio is the time of all in turn, each in a context of its own, against the time of all at once.
    """
    threads = threads or physical_cores()
    options = LoadOptions(ctx=prompt + tokens + _ROOM, threads=threads)
    with Session.open(model, options) as single:
        ids = single.vocabulary.tokenize(_TEXT * (prompt // 4 + count))
        prompts = [ids[place : place + prompt] for place in range(count)]
        sessions = open_sessions(model, options, count=count)

        def at_once() -> None:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(_write, sessions, prompts, [tokens] * count))

        def in_turn() -> None:
            for one in prompts:
                _write(single, one, tokens)

        try:
            found = _compare(in_turn, at_once, rounds)
        finally:
            for session in sessions:
                session.close()
    theirs = _llama_server(model, threads, prompts, tokens, rounds) if find_spec("xllamacpp") else {}
    written = count * tokens
    return {
        "ratio": round(found["in_turn_s"] / found["at_once_s"], 2),
        "target": "as llama-server's",
        "requests": count,
        "prompt_tokens": prompt,
        "reply_tokens": tokens,
        "in_turn_tokens_per_s": round(written / found["in_turn_s"], 1),
        "at_once_tokens_per_s": round(written / found["at_once_s"], 1),
        "threads": threads,
        **({} if theirs else {"not_installed": "xllamacpp"}),
        **_told(theirs, found, written),
    }


def _told(theirs: dict[str, float], ours: dict[str, float], written: int) -> dict[str, float]:
    if not theirs:
        return {}
    return {
        "llama_server_ratio": round(theirs["in_turn_s"] / theirs["at_once_s"], 2),
        "llama_server_in_turn_tokens_per_s": round(written / theirs["in_turn_s"], 1),
        "llama_server_at_once_tokens_per_s": round(written / theirs["at_once_s"], 1),
        "at_once_against_llama_server": round(theirs["at_once_s"] / ours["at_once_s"], 2),
    }


def _write(session: Session, prompt: Sequence[int], tokens: int) -> None:
    """One whole request: nothing of it is known yet, and it writes on whatever it says."""
    session.memory.forget()
    contract = session.info.contract
    sampler = Sampler(session.context, _GREEDY, 1)
    voice = Voice(session.info.name, session.memory, session.vocabulary, sampler, session.context.uncancel)
    voice.is_end = lambda token: False
    rule = ResetRule(contract.token_id if contract else None)
    for _ in generate(voice, prompt, [], rule, Reply(max_tokens=tokens)):
        pass
    sampler.close()
    session.context.rest()


def _compare(in_turn: Callable[[], object], at_once: Callable[[], object], rounds: int) -> dict[str, float]:
    """Seconds of both, medians; they take turns, so that what else the machine does meets both."""
    times: dict[str, list[float]] = {"in_turn_s": [], "at_once_s": []}
    for _ in range(rounds):
        for name, work in zip(times, (in_turn, at_once), strict=True):
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _llama_server(
    model: Path, threads: int, prompts: list[list[int]], tokens: int, rounds: int
) -> dict[str, float]:
    asked = json.dumps([str(model), threads, prompts, tokens, rounds])
    found: dict[str, float] = in_own_process(
        "llama-server", "evals.speed.parallel", "--llama-server", given=asked
    )
    return found


def _be_llama_server() -> None:
    """Measure llama-server by what standard input says, and print the times as JSON."""
    import xllamacpp  # noqa: PLC0415 (only this process may load it)

    model, threads, prompts, tokens, rounds = json.load(sys.stdin)
    params = xllamacpp.CommonParams()
    params.model.path, params.n_parallel, params.n_batch = model, len(prompts), 256
    params.n_ctx = len(prompts) * (len(prompts[0]) + tokens + _ROOM)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    how = {"n_predict": tokens, "cache_prompt": False, "temperature": 0, "ignore_eos": True}

    def write(prompt: list[int]) -> None:
        answer = server.handle_completions({"prompt": prompt, **how})
        if answer["timings"]["predicted_n"] != tokens:
            raise TakebackError("llama-server wrote another number of tokens")

    def at_once() -> None:
        with ThreadPoolExecutor(len(prompts)) as pool:
            list(pool.map(write, prompts))

    def in_turn() -> None:
        for prompt in prompts:
            write(prompt)

    print(json.dumps(_compare(in_turn, at_once, rounds)))


def main() -> None:
    """Print the figures."""
    if sys.argv[1:] == ["--llama-server"]:
        _be_llama_server()
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    chosen = {name: value for name, value in vars(args).items() if name != "model"}
    for name, value in measure(args.model, **chosen).items():
        print(f"{name:<36}{value}")


if __name__ == "__main__":
    main()
