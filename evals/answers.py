"""One reply of an evaluation, as it was asked for and as it came: made by a model, kept as a JSON line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from assistant.engine.events import Done, Error, Reset
from assistant.engine.message import Message
from assistant.engine.options import AfterReset, GenerateOptions
from assistant.engine.session import Session
from convert.errors import TakebackError
from evals.cases import Case, Mode
from evals.first_token import first_refusal

_AFTER_RESET: dict[Mode, AfterReset] = {"off": "off", "keep": "keep"}


@dataclass(frozen=True)
class Draft:
    """What was taken back: its generated tokens and characters, those that were shown, and its whole text."""

    tokens: int
    chars: int
    shown_chars: int
    text: str


@dataclass(frozen=True)
class Answer:
    """A reply: `text` and `ids` with the prefilled beginning, if that was not taken back."""

    probe: str
    number: int
    mode: str
    prompt: str
    prefill: str
    text: str
    reason: str
    ids: tuple[int, ...]
    drafts: tuple[Draft, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields of one line of replies.jsonl."""
        return asdict(self)

    @property
    def taken_back(self) -> bool:
        """Whether a draft of it was taken back."""
        return bool(self.drafts)

    @property
    def own_text(self) -> str:
        """What the model wrote itself: the text without a beginning that was put into its mouth."""
        return self.text if self.taken_back else self.text.removeprefix(self.prefill)

    @property
    def first_draft(self) -> int | None:
        """How many tokens the model had generated when it took its first draft back; None if it did not."""
        return self.drafts[0].tokens if self.drafts else None


def answer_from_json(line: dict[str, Any]) -> Answer:
    """The inverse of `Answer.as_json`; fields that are not known are passed over.

    Raises:
        KeyError, TypeError: a field is missing, or holds something else.
    """
    drafts = tuple(Draft(d["tokens"], d["chars"], d["shown_chars"], d["text"]) for d in line["drafts"])
    names = ("probe", "number", "mode", "prompt", "prefill", "text", "reason")
    return Answer(**{name: line[name] for name in names}, ids=tuple(line["ids"]), drafts=drafts)


def ask(session: Session, case: Case, seed: int) -> Answer:
    """Let a model give one reply, at the case's temperature, with the hold-back that it ships.

    Raises:
        TakebackError: the model failed.
    """
    messages = [Message("user", case.prompt)]
    prefilled = 0
    if case.prefill:
        prefilled = len(session.template.content(case.prefill, session.template.ids(messages)))
    options = GenerateOptions(
        seed=seed + case.sample,
        temperature=case.temperature,
        max_tokens=max(1, case.max_tokens - prefilled) if case.whole else case.max_tokens,
        after_reset=_AFTER_RESET.get(case.mode),
        prefill=case.prefill,
        show_discarded=True,
    )
    drafts: list[Draft] = []
    first_only = case.mode == "first_refusal"
    for event in (
        first_refusal(session, messages, options) if first_only else session.generate(messages, options)
    ):
        match event:
            case Reset():
                first = not drafts  # only the first draft has the prefilled beginning
                drafts.append(_draft(event, case.prefill if first else "", prefilled if first else 0))
            case Error(message):
                raise TakebackError(f"{case.probe} {case.number}: {message}")
            case Done():
                names = (case.probe, case.number, case.mode, case.prompt, case.prefill)
                return Answer(*names, event.text, event.reason, event.ids, tuple(drafts))
    raise TakebackError(f"{case.probe} {case.number}: the model ended its reply without a word; try again")


def _draft(event: Reset, prefill: str, prefilled: int) -> Draft:
    text = event.discarded or ""
    generated = max(0, event.discarded_tokens - prefilled)
    return Draft(generated, max(0, len(text) - len(prefill)), event.shown_chars, text)
