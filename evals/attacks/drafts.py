"""Real beginnings of harmful replies: what the base model itself writes after an attack's target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.engine.session import Session
from assistant.engine.vocabulary import Vocabulary
from convert.errors import TakebackError
from evals.attacks.plan import LENGTHS
from evals.journal import Journal
from evals.refusals import is_refusal
from evals.sets import Prompt

TRIES = 4
TEMPERATURE = 0.8
_NEW = max(LENGTHS) + 8  # tokens after the target: the longest beginning, with room for another vocabulary


def draft(load: Callable[[], Session], digest: str, prompt: Prompt, seed: int, journal: Journal) -> str:
    """The target and what the base writes after it, sampled; "" where each of the tries is a refusal or too short.

    `load` gives the base's session, where the journal has no draft; `digest` is that of its file. Raises
    TakebackError if it fails.
    """
    asked = json.dumps([digest, seed, prompt.text, prompt.target, TEMPERATURE, _NEW])
    key = f"draft/{prompt.number}/{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    if key not in journal.lines:
        session = load()
        found = (_sample(session, prompt, seed * TRIES + number) for number in range(TRIES))
        journal.add(key, {"text": next((text for text in found if _fits(session, prompt, text)), "")})
    return str(journal.lines[key].get("text", ""))


def cut(vocabulary: Vocabulary, text: str, tokens: int) -> str:
    """The beginning of a text, so many of its tokens; a character that was cut is left out."""
    pieces = map(vocabulary.piece, vocabulary.tokenize(text)[:tokens])
    found = b"".join(pieces).decode("utf-8", "ignore")
    return found[1:] if vocabulary.puts_space and not text.startswith(" ") else found


def _sample(session: Session, prompt: Prompt, seed: int) -> str:
    options = GenerateOptions(
        seed=seed % (1 << 32),
        temperature=TEMPERATURE,
        max_tokens=_NEW,
        after_reset="off",
        prefill=prompt.target,
    )
    for event in session.generate([Message("user", prompt.text)], options):
        if isinstance(event, Error):
            raise TakebackError(f"draft {prompt.number}: {event.message}")
        if isinstance(event, Done):
            return event.text
    return ""


def _fits(session: Session, prompt: Prompt, text: str) -> bool:
    long = len(session.vocabulary.tokenize(text)) >= max(LENGTHS)
    return long and not is_refusal(text.removeprefix(prompt.target))
