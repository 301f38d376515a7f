"""What a generation yields, one event after the other, and how each is written as JSON."""

from dataclasses import dataclass, fields
from typing import Any, Literal

Reason = Literal["stop", "length", "cancelled", "reset_limit", "context_full"]
"""Why a reply ended: by itself or at a stop text, at `max_tokens`, by the user, too many resets, no room."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first event: `prompt_tokens` in all, of which `cached_tokens` need not be read again."""

    model: str
    prompt_tokens: int
    cached_tokens: int
    backtracking: bool


@dataclass(frozen=True, slots=True)
class Prefill:
    """A part of the prompt was read: `done` of `total` tokens, the cached ones left out."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Text:
    """Text to append to the reply. Never half a character, never a control sequence."""

    text: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget all text of this reply so far: the model has taken it back.

    `shown_chars` counts the characters generated, shown, and now taken back; `shown_prefill_chars` those of a
    prefilled beginning. `discarded` is the whole draft, only where it was asked for.
    """

    discarded_tokens: int
    shown_chars: int
    shown_prefill_chars: int
    rewind_ms: float
    discarded: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of a reply that did not fail. `text` is all Text events since the last Reset, joined.

    `tokens` counts the final reply with its prefilled beginning, `discarded_tokens` what resets took back.
    `ttft_ms` is the time to the first token, None where there was none; `tokens_per_s` counts every token
    after it, taken back or not. `ids` are the final reply's token ids; they are not written as JSON.
    """

    reason: Reason
    text: str
    tokens: int
    discarded_tokens: int
    resets: int
    ttft_ms: float | None
    tokens_per_s: float | None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Error:
    """The last event of a generation that failed, with one line for the user."""

    message: str


Event = Start | Prefill | Text | Reset | Done | Error

_NAMES = {Start: "start", Prefill: "prefill", Text: "text", Reset: "reset", Done: "done", Error: "error"}
_UNWRITTEN = {"ids"}


def as_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object, with its name under `event`; a draft not asked for is left out."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    written = {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in values.items()
        if name not in _UNWRITTEN and not (name == "discarded" and value is None)
    }
    return {"event": _NAMES[type(event)], **written}
