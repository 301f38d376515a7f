"""A guard model as the judge of harm: Llama Guard 3 or Qwen3Guard, a GGUF file on this machine.

Untested on weights: none could be had where this was written. What is tested is the reading of answers in the
documented formats, and that a request and a reply get into the guard's prompt as data.

The prompt is made by the chat template in the guard's own file, for that is what the guard was trained on; a
file without such a template is refused. So is one whose template takes a message as a list of parts instead of
a text, which the engine does not render.

No word of a request or a reply becomes a control token. What a template writes between its parts ("User:", the
end of the conversation) is ordinary text in both families, though: a reply may imitate it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.prompt import PromptTemplate
from assistant.engine.session import Session
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.progress import Progress, silent
from evals.answers import Answer
from evals.digest import file_sha256
from evals.journal import Journal
from evals.judges.verdict import Verdict, parse_verdict

CONTEXT = 4096
"""Tokens: the guards' policies take about a thousand of them."""
_OPTIONS = GenerateOptions(temperature=0.0, repeat_penalty=1.0, max_tokens=64, seed=0, after_reset="off")
_TELLING = ("Safety: Safe", "UNSAFE CONTENT CATEGORIES")  # what the templates of both families say


class Guard:
    """A guard that is loaded when the first reply is judged that no journal holds a verdict on."""

    def __init__(
        self, path: Path, journal: Journal, threads: int | None = None, progress: Progress = silent
    ) -> None:
        self._path, self._journal, self._threads, self._progress = path, journal, threads, progress
        self._session: Session | None = None
        self.digest = file_sha256(path, lambda done, total: progress("guard: checking the file", done, total))

    def judge(self, answers: Sequence[Answer]) -> list[Verdict | None]:
        """A verdict on each reply, in order; None where the guard's answer is in no known format.

        A reply without a text is not sent to the guard: it holds no harm.

        Raises:
            TakebackError: the guard cannot be loaded, fails, or never answers as a guard does.
        """
        keys = {self._key(answer): answer for answer in answers if answer.text.strip()}
        missing = [(key, answer) for key, answer in keys.items() if key not in self._journal.lines]
        for done, (key, answer) in enumerate(missing):
            self._progress(f"guard: {len(missing)} replies", done, len(missing))
            self._journal.add(key, {"answer": self._ask(answer)})
        found = {key: parse_verdict(str(self._journal.lines[key].get("answer", ""))) for key in keys}
        if found and not any(found.values()):
            raise TakebackError(
                f"{self._path}: none of its {len(found)} answers is that of Llama Guard 3 or Qwen3Guard"
            )
        return [found[self._key(a)] if a.text.strip() else Verdict(unsafe=False) for a in answers]

    def close(self) -> None:
        """Free the guard, if it was loaded."""
        if self._session is not None:
            self._session.close()

    def _key(self, answer: Answer) -> str:
        said = hashlib.sha256(f"{answer.prompt}\0{answer.text}".encode("utf-8", "replace")).hexdigest()
        return f"{self.digest[:16]}/{said[:32]}"

    def _ask(self, answer: Answer) -> str:
        if self._session is None:
            self._session = open_guard(self._path, self._threads)
        exchange = [Message("user", answer.prompt), Message("user", answer.text)]
        for event in self._session.generate(exchange, _OPTIONS):
            match event:
                case Error(message):
                    raise TakebackError(f"guard, {answer.probe} {answer.number}: {message}")
                case Done():
                    return event.text
        raise TakebackError("the guard ended its answer without a word; try again")


def check_guard(path: Path) -> None:
    """See by a file's header whether it may be a guard, before hours of replies are asked for.

    Raises:
        TakebackError: it cannot be read, is no GGUF file, or its chat template is no guard's.
    """
    if not _is_guards(str(read_header(path).metadata.get("tokenizer.chat_template"))):
        raise _no_guard(path)


def _is_guards(template: str) -> bool:
    return any(words in template for words in _TELLING)


def _no_guard(path: Path) -> TakebackError:
    return TakebackError(f"{path}: its chat template is not that of Llama Guard 3 or Qwen3Guard")


def open_guard(path: Path, threads: int | None) -> Session:
    """Load a guard, so that a conversation is a request and the reply to it.

    Raises:
        TakebackError: it cannot be loaded, or its chat template is no guard's.
    """
    session = Session.open(path, LoadOptions(ctx=CONTEXT, threads=threads))
    source = session.model.template or ""
    if not _is_guards(source):
        session.close()
        raise _no_guard(path)
    session.template = _Exchange(source, session.vocabulary, session.info.vocab_sha256)
    return session


class _Exchange(PromptTemplate):
    """A guard's template, for two messages: a request, and the reply to be judged.

    The engine lets no conversation end with an assistant's message, so the reply comes to it as a user's.
    """

    def ids(self, messages: Sequence[Message]) -> list[int]:
        request, reply = messages
        return super().ids([request, replace(reply, role="assistant")])
