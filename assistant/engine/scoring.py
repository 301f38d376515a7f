"""How likely a given reply is, and how near the model is to taking it back at each of its tokens."""

from collections.abc import Sequence

import numpy as np

from assistant.engine.libllama import Logits
from assistant.engine.message import Message
from assistant.engine.sampler import reset_margin
from assistant.engine.session import Session
from convert.errors import TakebackError


def score(session: Session, messages: Sequence[Message], reply_ids: Sequence[int]) -> tuple[Logits, Logits]:
    """Read a reply as if the model had written it.

    Returns the natural-log probability of each of its n tokens, [n], over the whole vocabulary, and the reset
    margin at each place, [n + 1]: before the first token, and after each. A reset fires at a place if and
    only if its margin plus the reset bias is at least 0. For an ordinary model they are minus infinity.
    Raises TakebackError if prompt and reply do not fit the context. Not while a reply is being written.
    """
    prompt = session.template.ids(messages)
    reply = list(reply_ids)
    if len(prompt) + len(reply) > session.info.context_length:
        raise TakebackError(
            f"prompt and reply have {len(prompt) + len(reply):,} tokens, and the context holds "
            f"{session.info.context_length:,}; raise --ctx"
        )
    memory = session.memory
    session.context.uncancel()
    for _ in memory.read(prompt[memory.hold(prompt) : -1]):
        pass
    contract = session.info.contract
    logprobs = np.empty(len(reply), np.float32)
    margins = np.full(len(reply) + 1, -np.inf, np.float32)
    place = 0
    for chunk in memory.read_each([*prompt[-1:], *reply]):
        for logits in chunk:
            if place < len(reply):
                logprobs[place] = _log_probability(logits, reply[place])
            if contract:
                margins[place] = reset_margin(logits, contract.token_id)
            place += 1
    return logprobs, margins


def _log_probability(logits: Logits, token: int) -> float:
    largest = float(logits.max())
    total = float(np.exp(logits - largest).sum(dtype=np.float64))
    return float(logits[token]) - largest - float(np.log(total))
