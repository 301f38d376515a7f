"""Messages to token ids, by the model's own chat template, so that the prompt is data.

The template renders with placeholders where the messages' contents belong; the contents never meet it. Its
own text is then read with control tokens, the contents without. So nothing that a user types, a file holds or
a model has said can become a control token, whatever it looks like.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from assistant.engine.message import Message
from assistant.engine.placeholders import Part, Placeholders, searched_words
from assistant.engine.vocabulary import Vocabulary
from convert.errors import TakebackError
from convert.untrusted import clean, clean_line

_MAX_RENDERED = 1 << 20
_SEEN_ROLES = ("system", "assistant")
"""Of the messages in which a template may find the words that it searches for."""


class _GenerationTag(Extension):
    """The tag `generation`, which some templates put around replies for training: its content, unchanged."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own convention)

    def parse(self, parser: Parser) -> Node:
        """Parse up to `endgeneration`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller: Any) -> str:  # noqa: ANN401 (Jinja's macro)
        return str(caller())


class PromptTemplate:
    """A chat template and the vocabulary that its prompts are in.

    Raises TakebackError if there is no template or it is not valid.
    """

    def __init__(self, source: str | None, vocabulary: Vocabulary, vocab_sha256: str) -> None:
        if not source:
            raise TakebackError("the model's file has no chat template; choose a chat model")
        self._vocabulary = vocabulary
        self._vocab_sha256 = vocab_sha256
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag]
        )
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(str(form))
        try:
            self._template = environment.from_string(source)
            self._visible = frozenset(filter(self._is_text, searched_words(environment.parse(source))))
        except (jinja2.TemplateError, RecursionError) as error:
            raise TakebackError(f"the model's chat template is not valid: {_line(error)}") from error

    def _is_text(self, word: str) -> bool:
        """Whether a word is read as text even where control tokens would be read as such."""
        vocabulary = self._vocabulary
        ids = vocabulary.tokenize(word, special=True)
        special = any(token in vocabulary.unseen or vocabulary.is_control(token) for token in ids)
        return not special and not any(marker in word for marker in vocabulary.markers)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The conversation's ids, up to the start of the next reply.

        Raises TakebackError if the template refuses the conversation, or loses its last message.
        """
        ids = self.join(self.parts(messages), messages)
        if not ids:
            raise TakebackError("the model's chat template makes nothing of this conversation")
        return ids

    def parts(self, messages: Sequence[Message]) -> list[Part]:
        """The prompt as text, in pieces. A template without system messages gets it in the user's first."""
        try:
            return self._render(messages)
        except TakebackError:
            if len(messages) < 2 or messages[0].role != "system":
                raise
            merged = replace(messages[1], content=f"{messages[0].content}\n\n{messages[1].content}", ids=None)
            shifted = self._render([merged, *messages[2:]])
            # The merged content is nobody's message: an index that `join` finds no kept ids for.
            return [replace(part, index=-1) if part.index == 0 else _shift(part) for part in shifted]

    def _render(self, messages: Sequence[Message]) -> list[Part]:
        """The prompt in pieces. What the template may see of replies and of the system message, it sees first.

        Of what the user says it sees nothing: a file or a page in it must not change how the template works.
        """
        seen = [self._visible if message.role in _SEEN_ROLES else frozenset() for message in messages]
        if any(
            word in message.content for message, words in zip(messages, seen, strict=True) for word in words
        ):
            with suppress(TakebackError):  # it may not like what it sees
                return self._render_with(messages, seen)
        return self._render_with(messages, [frozenset()] * len(messages))

    def _render_with(self, messages: Sequence[Message], visible: Sequence[frozenset[str]]) -> list[Part]:
        stand_ins = Placeholders([message.content for message in messages], visible)
        marked = [
            {"role": message.role, "content": text}
            for message, text in zip(messages, stand_ins.texts, strict=True)
        ]
        parts = stand_ins.parts(self._run(marked))
        if not any(part.index == len(messages) - 1 for part in parts):
            raise TakebackError("the model's chat template leaves out the last message; choose another model")
        return [part for part in parts if part.text]

    def _run(self, messages: list[dict[str, str]]) -> str:
        rendered = []
        size = 0
        vocabulary = self._vocabulary
        try:
            for piece in self._template.generate(
                messages=messages,
                add_generation_prompt=True,
                bos_token="" if vocabulary.bos is None else vocabulary.text(vocabulary.bos),
                eos_token="" if vocabulary.eos is None else vocabulary.text(vocabulary.eos),
                tools=None,
                documents=None,
            ):
                size += len(piece)
                if size > _MAX_RENDERED:
                    raise TakebackError("the model's chat template writes without end")
                rendered.append(piece)
        except TakebackError:
            raise
        except Exception as error:  # the template is the file's own program and may fail in any way
            message = f"the model's chat template refuses this conversation: {_line(error)}"
            raise TakebackError(message) from error
        return "".join(rendered)

    def join(self, parts: Sequence[Part], messages: Sequence[Message]) -> list[int]:
        """The ids of a rendered prompt: kept ids where a reply has them, else its text read anew."""
        ids: list[int] = []
        for part in parts:
            if part.index is None:
                ids += self._read(part.text, ids, special=True)
            elif part.index >= 0 and (kept := self._kept(messages[part.index], part.text)):
                ids += kept
            else:
                ids += self.content(part.text, ids)
        bos = self._vocabulary.bos
        if self._vocabulary.adds_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids

    def _kept(self, message: Message, text: str) -> tuple[int, ...]:
        """The message's ids that say this text, all of them or the last ones; none if they do not.

        The last ones are all that is left of a reply whose reasoning a template takes out.
        """
        if not message.ids or message.vocab_sha256 != self._vocab_sha256:
            return ()
        vocabulary = self._vocabulary
        if not all(
            0 <= token < vocabulary.size and not vocabulary.is_control(token) for token in message.ids
        ):
            return ()  # a model can write a control token, of which the text has no trace
        pieces = list(map(vocabulary.piece, message.ids))
        if clean(b"".join(pieces).decode("utf-8", "replace")) == text:
            return message.ids
        start, size = len(pieces), len(text.encode("utf-8", "replace"))
        while start and size > 0:
            start -= 1
            size -= len(pieces[start])
        said = b"".join(pieces[start:]).decode("utf-8", "replace")
        return message.ids[start:] if said == text else ()

    def content(self, text: str, before: Sequence[int]) -> list[int]:
        """The ids of text that is not the template's, after the ids `before`: none is a control token."""
        ids: list[int] = []
        for piece in self._harmless(text):
            ids += self._read(piece, [*before[-1:], *ids], special=False)
        if any(map(self._vocabulary.is_control, ids)):
            raise TakebackError(
                "this model's tokenizer makes control tokens of ordinary text; choose another"
            )
        return ids

    def _harmless(self, text: str) -> list[str]:
        """Split the text inside each marker that the tokenizer would match without being asked."""
        markers = [marker for marker in self._vocabulary.markers if marker in text]
        if not markers:
            return [text]
        inside = re.compile("|".join(f"(?<={re.escape(m[:2])})(?={re.escape(m[2:])})" for m in markers))
        return [piece for piece in inside.split(text) if piece]

    def _read(self, text: str, before: Sequence[int], *, special: bool) -> list[int]:
        """Tokenize one piece as it would be read after `before`.

        A sentencepiece vocabulary puts a space before the text of each call. That is right at the start and
        after a control token, and wrong elsewhere: there the text is read after a line break, whose ids are
        then taken off. No merge reaches over a line break, which is a byte token; where one does, the space
        stays.
        """
        vocabulary = self._vocabulary
        if not vocabulary.puts_space or not before or vocabulary.is_control(before[-1]):
            return vocabulary.tokenize(text, special=special)
        lead = vocabulary.tokenize("\n")
        ids = vocabulary.tokenize("\n" + text, special=special)
        if ids[: len(lead)] == lead:
            return ids[len(lead) :]
        return vocabulary.tokenize(text, special=special)


def _shift(part: Part) -> Part:
    """The part of a conversation whose system message was merged away, counted with it."""
    return part if part.index is None else replace(part, index=part.index + 1)


def _refuse(message: object) -> NoReturn:
    """What templates call as `raise_exception`."""
    raise jinja2.TemplateError(str(message))


def _line(error: BaseException) -> str:
    return clean_line(str(error)[:200]) or type(error).__name__
