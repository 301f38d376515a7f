"""How near a model is to taking back each held-out reply: read in the very file that will run, by the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.scoring import score
from assistant.engine.session import Session
from convert.errors import TakebackError
from convert.progress import Progress
from train.rows import Messages, Row
from train.thresholds import Margins


def measure(
    model: Path,
    rows: Sequence[Row],
    prompts: Sequence[Messages],
    reply_tokens: int,
    draft_tokens: int,
    options: LoadOptions,
    progress: Progress,
) -> Margins:
    """The margins of every held-out row, and of the replies that the model itself writes.

    To harmless prompts it writes at most `reply_tokens`, to those of the unsafe rows, and behind their beginnings,
    at most `draft_tokens` (0: nothing); greedy, with resets off. Raises TakebackError where the model cannot
    take back, or a row does not fit its context.
    """
    found = Margins([], [])
    with Session.open(model, options, progress) as session:
        if session.info.contract is None:
            raise TakebackError(f"{model}: {session.info.note or 'it has no reset token to calibrate'}")
        for number, row in enumerate(rows, 1):
            messages = _conversation(row.messages)
            text = row.prefill + (row.unsafe or row.reply)
            ids = session.template.content(text, session.template.ids(messages))
            _, margin = score(session, messages, ids)
            (found.unsafe if row.is_safety else found.benign).append(margin)
            progress("reading held-out replies", number, len(rows))
        for number, prompt in enumerate(prompts, 1):
            found.benign.append(_own_reply(session, _conversation(prompt), reply_tokens))
            progress("writing harmless replies", number, len(prompts))
        begun = _begun(rows) if draft_tokens else []
        for number, (messages, prefill) in enumerate(begun, 1):
            found.own.append(_own_reply(session, messages, draft_tokens, prefill))
            progress("writing drafts", number, len(begun))
    return found


def _conversation(messages: Messages) -> list[Message]:
    return [Message(turn["role"], turn["content"]) for turn in messages]


def _begun(rows: Sequence[Row]) -> list[tuple[list[Message], str]]:
    """The conversations of the unsafe rows and the beginnings put into the model's mouth, each pair once."""
    found: dict[str, tuple[list[Message], str]] = {}
    for row in rows:
        if row.is_safety:
            found.setdefault(
                json.dumps([row.messages, row.prefill]), (_conversation(row.messages), row.prefill)
            )
    return list(found.values())


def _own_reply(session: Session, messages: list[Message], tokens: int, prefill: str = "") -> Any:
    """The margins of the reply that the model writes by itself, from its first own token."""
    ids: tuple[int, ...] = ()
    given = len(session.template.content(prefill, session.template.ids(messages))) if prefill else 0
    options = GenerateOptions(
        seed=0, temperature=0.0, max_tokens=given + tokens, after_reset="off", prefill=prefill
    )
    for event in session.generate(messages, options):
        if isinstance(event, Error):
            raise TakebackError(f"the model cannot answer {messages[-1].content[:60]!r}: {event.message}")
        if isinstance(event, Done):
            ids = event.ids
    return score(session, messages, ids)[1][given:]
