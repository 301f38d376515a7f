"""The base's own replies by the chat's engine, one after the other: any GGUF file, and no training extra."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.engine.session import Session
from convert.errors import TakebackError
from convert.untrusted import clean
from train.replies import Wanted, append, missing

Tell = Callable[[str], None]
EVERY_S = 20.0


def sample_with_engine(
    session: Session, wanted: Sequence[Wanted], out: Path, *, seed: int, tell: Tell
) -> None:
    """Append a line to `out` for every wanted reply that it does not have; each is on the disk before the next.

    A prompt that the model cannot be asked (it is longer than its context) is told and left out.

    Raises:
        TakebackError: the model failed at every prompt.
    """
    todo = missing(wanted, out)
    began = told = time.monotonic()
    failed = 0
    # Prompts in the order of their texts: what is asked again of one reuses its decoded beginning.
    order = sorted(todo, key=lambda item: (item.max_tokens, item.system, item.prompt, item.opening))
    for count, item in enumerate(order, 1):
        reply = None
        try:
            reply = _reply(session, item, seed)
        except TakebackError as error:
            failed += 1
            if failed == len(order):
                raise
            tell(f"left out a prompt that begins {item.prompt[:40]!r}: {error}")
        if reply:
            append(out, [(item, *reply)])
        if time.monotonic() - told > EVERY_S or count == len(order):
            told = time.monotonic()
            left = (told - began) / count * (len(order) - count)
            tell(f"sampled {count}/{len(order)} replies, about {left / 60:.0f} min left")


def _reply(session: Session, item: Wanted, seed: int) -> tuple[str, bool]:
    """The reply with its opening, and whether the model ended it by itself."""
    options = GenerateOptions(
        seed=item.seed(seed),
        temperature=item.temperature,
        top_k=50,
        top_p=1.0,
        min_p=0.0,
        repeat_penalty=1.0,
        max_tokens=item.max_tokens,
        after_reset="off",
        prefill=item.opening,
    )
    messages = [Message("system", item.system)] if item.system else []
    for event in session.generate([*messages, Message("user", item.prompt)], options):
        match event:
            case Error(message):
                raise TakebackError(message)
            case Done(reason, text):
                shown = clean(item.opening)
                if not text.startswith(shown):
                    raise TakebackError("the model's vocabulary cannot write its opening")
                return item.opening + text[len(shown) :], reason == "stop"
    raise TakebackError("the model ended its reply without a word")
