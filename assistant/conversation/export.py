"""A chat as Markdown or JSON, for other programs and people. Drafts are in neither: they are not stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from assistant.conversation.records import Chat, Entry
from convert.untrusted import clean, clean_line

NAMES = {"user": "You", "assistant": "Assistant"}
REMARKS = {
    "cancelled": "stopped by you",
    "length": "stopped at the length limit",
    "context_full": "stopped because the context is full",
    "killed": "unfinished",
    "error": "unfinished",
    "reset_limit": "taken back; no answer",
}
"""What a reader should know of a reply that did not simply end, by its reason."""


def as_markdown(chat: Chat, entries: Sequence[Entry]) -> str:
    """The chat as a Markdown document, safe to print on a terminal."""
    parts = [f"# {clean_line(chat.title)}", _when(chat.created)]
    if chat.system:
        parts += ["## System", clean(chat.system)]
    for entry in entries:
        parts += [f"## {NAMES[entry.role]}", clean(entry.text)]
        if remark := REMARKS.get(entry.reason):
            parts.append(f"*({remark})*")
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(chat: Chat, entries: Sequence[Entry]) -> str:
    """The chat as a JSON object; its `messages` are what `takeback ask --messages` reads."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": chat.system}] if chat.system else []
    messages += [
        {"role": entry.role, "content": entry.text, "created": entry.created}
        | ({"reason": entry.reason} if entry.reason else {})
        for entry in entries
    ]
    whole = {"title": chat.title, "created": chat.created, "updated": chat.updated, "messages": messages}
    return json.dumps(whole, indent=2) + "\n"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
