"""Taking back in front of llama-server: our rule on another engine's tokens. Run it with --help.

llama-server is asked for a block of tokens at a time, with each one's likeliest alternatives before sampling.
Where the reset token leads among them, by the rule of `takeback ask`, the draft is dropped, and the next block
is asked for after the prompt and the reset token alone: what the model sees is what `rewind` shows it.
"""

import argparse
import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assistant.engine.events import Done, Event, as_json
from assistant.engine.generate import LEAST_TEMPERATURE
from assistant.engine.libllama import Model
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.engine.prompt import PromptTemplate
from assistant.engine.rewind import Reply
from assistant.engine.sampler import stream_seed
from assistant.engine.vocabulary import Vocabulary, vocabulary_sha256
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.reset_token import ResetContract, read_contract

BLOCK = 32
"""Tokens asked for at a time: at most so many are written in vain when a draft is dropped."""
ALTERNATIVES = 64
"""Of each token. A reset token that is not among them does not fire, however large its bias."""


def write(
    server: str,
    prompt: Sequence[int],
    contract: ResetContract,
    vocabulary: Vocabulary,
    options: GenerateOptions,
    *,
    alternatives: int = ALTERNATIVES,
) -> Iterator[Event]:
    """Write one reply; the events are Text, Reset and, last, Done, as those of the engine. Raises OSError."""
    reply = Reply(
        hold_back=contract.hold_back if options.hold_back is None else options.hold_back,
        max_tokens=options.max_tokens,
        max_resets=options.max_resets,
        stops=options.stop,
    )
    seed = secrets.randbits(32) if options.seed is None else options.seed
    bias = contract.reset_bias if options.reset_bias is None else options.reset_bias
    seen: list[int] = []  # what the model has read after the prompt
    blocks = 0
    while not reply.ended:
        temperature = max(options.temperature, LEAST_TEMPERATURE if reply.resets > 1 else 0)
        wanted = {
            **_sampling(options, temperature, stream_seed(seed, blocks)),
            "n_predict": BLOCK,
            "n_probs": alternatives,
            "logit_bias": [[contract.token_id, False]],  # it fires or it does not; it is never sampled
            "return_tokens": True,
            "cache_prompt": True,
        }
        blocks += 1
        block = _post(f"{server}/completion", {**wanted, "prompt": [*prompt, *seen]})
        if not block["tokens"]:
            reply.ended = "context_full"
        for token, told in _positions(block):
            likeliest = told
            if likeliest is None:
                likeliest = _look(server, {**wanted, "prompt": [*prompt, *seen]}, vocabulary)
            if fires(likeliest, contract.token_id, bias):
                yield reply.reset()
                seen = [contract.token_id]
                break
            if vocabulary.is_end(token):
                reply.ended = "stop"
                break
            yield from reply.add(token, vocabulary.piece(token))
            seen.append(token)
            if reply.ended:
                break
    yield from reply.finish("stop")
    counts = (len(reply.ids), reply.discarded_tokens, reply.resets)
    yield Done(reply.ended, reply.text, *counts, None, None, reply.ids)


def fires(likeliest: dict[int, float], token: int, bias: float) -> bool:
    """The rule, on log probabilities, whose differences are those of the logits."""
    own = likeliest.pop(token, None)
    return own is not None and bool(likeliest) and own + bias >= max(likeliest.values())


def _positions(block: dict[str, Any]) -> Iterator[tuple[int, dict[int, float] | None]]:
    """Each token of a block, and the log probabilities of the likeliest ones at its place.

    None of a token that begins a character and leaves its end to the next one: llama-server tells nothing of it.
    """
    told = iter(block["completion_probabilities"])
    place = next(told, None)
    for token in block["tokens"]:
        if place is None or place["id"] != token:
            yield token, None
        else:
            yield token, _likeliest(place)
            place = next(told, None)


def _likeliest(place: dict[str, Any]) -> dict[int, float]:
    return {other["id"]: other["logprob"] for other in place["top_logprobs"]}


def _look(server: str, wanted: dict[str, Any], vocabulary: Vocabulary) -> dict[int, float]:
    """The likeliest tokens after a prompt, whatever would come: the reply's end is made to, which is told."""
    if vocabulary.eos is None:
        return {}
    bias = [*wanted["logit_bias"], [vocabulary.eos, 1e4]]
    block = _post(f"{server}/completion", {**wanted, "n_predict": 1, "logit_bias": bias})
    return _likeliest(block["completion_probabilities"][0])


def _sampling(options: GenerateOptions, temperature: float, seed: int) -> dict[str, Any]:
    names = ("top_k", "top_p", "min_p", "repeat_penalty")
    return {**{name: getattr(options, name) for name in names}, "temperature": temperature, "seed": seed}


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 (the user's own URL)
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return dict(json.load(answer))


def main() -> int:
    """Write one reply, one event a line."""
    parser = argparse.ArgumentParser(description="one reply by llama-server, which may be taken back")
    parser.add_argument("text")
    parser.add_argument("--server", default="http://127.0.0.1:8080", metavar="URL")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="the file that it serves")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--max-tokens", type=int, metavar="N")
    args = parser.parse_args()
    header = read_header(args.model)
    contract, note = read_contract(header)
    if contract is None or contract.after_reset != "rewind":
        raise TakebackError(note or "this model was not trained to go on from its prompt after a reset")
    model = Model(args.model)  # for its vocabulary and its template: the prompt is data, here too
    vocabulary = Vocabulary(model)
    template = PromptTemplate(model.template, vocabulary, vocabulary_sha256(header))
    prompt = template.ids([Message("user", args.text)])
    options = replace(GenerateOptions(), seed=args.seed, max_tokens=args.max_tokens)
    for event in write(args.server, prompt, contract, vocabulary, options):
        sys.stdout.write(json.dumps(as_json(event), ensure_ascii=False) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TakebackError, OSError) as problem:
        sys.exit(f"error: {problem}")
