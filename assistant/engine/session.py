"""One loaded model and its context, for one thread."""

import secrets
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from llama_cpp import __version__

from assistant.engine.common_beginning import common_beginning
from assistant.engine.constraint import Constraint
from assistant.engine.events import Error, Event
from assistant.engine.generate import ResetRule, generate
from assistant.engine.grammar import check_grammar
from assistant.engine.libllama import Context, Model
from assistant.engine.memory import Memory
from assistant.engine.message import Message, check_messages
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.probe import probe
from assistant.engine.prompt import PromptTemplate
from assistant.engine.prompt_cache import PromptCache, model_key, prompts_dir
from assistant.engine.reading_again import ReadingAgain
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.strand import Strand
from assistant.engine.threads import physical_cores
from assistant.engine.vocabulary import Vocabulary, vocabulary_sha256
from assistant.engine.voice import Voice
from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader, read_header
from convert.progress import Progress
from convert.reset_token import ResetContract, read_contract
from convert.untrusted import clean_line

DEFAULT_CONTEXT = 4_096
"""Tokens, where the user asks for none: enough for a long chat, and small enough for any machine."""


@dataclass(frozen=True)
class ModelInfo:
    """What a session knows of its model. `contract` is None for a model that cannot take back.

    `context_length` is in tokens. `note` is one line for the user about the reset token and the context, or None.
    """

    name: str
    path: Path
    context_length: int
    contract: ResetContract | None
    note: str | None
    vocab_sha256: str


def _check_tokens(path: Path, header: GGUFHeader) -> None:
    """Refuse two tokens of one text: llama.cpp would end the process. Empty ones it names by their ids."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    texts = [text for text in tokens if text] if isinstance(tokens, tuple) else []
    if len(set(texts)) < len(texts):
        raise TakebackError(f"{path}: its vocabulary has a token twice; get the file again, or another")


def _checked(info: ModelInfo, vocabulary: Vocabulary, asked: int | None) -> ModelInfo:
    """The info after llama.cpp's own word on the reset token and on the context that the user asked for."""
    contract, note = info.contract, info.note
    if contract and not vocabulary.can_take_back(contract.token_id):
        contract, note = (
            None,
            "it cannot take back: llama.cpp takes its reset token for another kind of token",
        )
    if asked is not None and asked > info.context_length:
        if contract is None and note is None:
            note = "it cannot take back what it writes"
        short = f"its context is {info.context_length:,} tokens, for it was trained for no more"
        note = f"{note}; {short}" if note else short
    return replace(info, contract=contract, note=note)


def load(
    path: Path, options: LoadOptions, progress: Progress | None = None, *, sequences: int = 1
) -> tuple[ModelInfo, Context]:
    """Load a model, and make a context for so many conversations at a time.

    A file that was never loaded before is tried in another process first. Raises TakebackError if the file is
    damaged, or is no chat model that llama.cpp knows.
    """
    header = read_header(path)
    _check_tokens(path, header)
    contract, note = read_contract(header, options.reset_token)
    probe(path, header, progress)
    model = Model(path, gpu_layers=options.gpu_layers, progress=progress)
    if model.n_vocab < 1:
        raise TakebackError(f"{path}: it has no vocabulary")
    threads = options.threads or physical_cores()
    n_ctx = min(options.ctx or DEFAULT_CONTEXT, model.trained_context)
    context = Context(model, n_ctx=n_ctx, threads=threads, sequences=sequences)
    name = clean_line(str(header.metadata.get("general.name") or path.stem))
    return ModelInfo(name, path, context.length, contract, note, vocabulary_sha256(header)), context


class Session:
    """A model that answers conversations, one at a time. Use it in one thread; only `cancel` is for any.

    Open it with `Session.open`, and close it or use it as a context manager.
    """

    def __init__(self, info: ModelInfo, model: Model, context: Strand, *, owns: bool = True) -> None:
        """`owns` the model: closing the session then frees it."""
        self.info = info
        self.model = model
        self.context = context
        self._owns = owns
        self.vocabulary = Vocabulary(model)
        self.template = PromptTemplate(model.template, self.vocabulary, info.vocab_sha256)
        self.memory = Memory(context)
        self._again: ReadingAgain | None = None
        self._keeps_all, self._system = True, ""
        self._running: Generator[Event, None, None] | None = None
        self._reply: Reply | None = None
        self._closing = False

    @classmethod
    def open(cls, path: Path, options: LoadOptions | None = None, progress: Progress | None = None) -> Self:
        """Load a model, with a context of its own. Raises as `load` does."""
        options = options or LoadOptions()
        info, context = load(path, options, progress)
        session = cls.on(info, context, options)
        if options.prompt_cache:
            session._read_again(options)
        return session

    def _read_again(self, options: LoadOptions) -> None:
        """Keep on the disk what is read, and take it from there."""
        context, model = self.context, self.model
        loaded = (__version__, context.length, context.chunk, options.gpu_layers)
        key = model_key(self.info.path, self.info.vocab_sha256, *loaded)
        cache = PromptCache(prompts_dir(), key, options.prompt_cache << 20)
        self._again = ReadingAgain(cache, self.memory, whole=bool(model.window or model.recurrent))
        self._keeps_all = options.keeps == "chats"

    @classmethod
    def on(cls, info: ModelInfo, context: Strand, options: LoadOptions, *, owns: bool = True) -> Self:
        """A session on a model that is loaded: `info` and `context` are of `load`, or part of that context."""
        session = cls(info, context.model, context, owns=owns)
        session.info = _checked(info, session.vocabulary, options.ctx)
        return session

    def generate(
        self, messages: Sequence[Message], options: GenerateOptions | None = None
    ) -> Generator[Event, None, None]:
        """Write the next reply; the events are those of `assistant.engine.events`, ending in Done or Error.

        A `cancel` from now on is for this reply. When the iterator is used up or closed, nothing of a draft
        is left in the context. Starting another reply ends the one before.
        """
        if self._closing:
            raise ValueError("the session is closed")
        self._end_running()
        self.context.uncancel()
        self._running = running = self._generate(list(messages), options or GenerateOptions())
        return running

    def _generate(self, messages: list[Message], options: GenerateOptions) -> Generator[Event, None, None]:
        try:
            check_messages(messages)
            prompt = self.template.ids(messages)
            prefill = self.template.content(options.prefill, prompt) if options.prefill else []
            self._system = messages[0].content if messages[0].role == "system" else ""
            if self._again:
                self._again.begin(prompt, switch=self._keeps_all)
            seed = secrets.randbits(32) if options.seed is None else options.seed
            contract = self.info.contract
            sampler = Sampler(self.context, options, seed, self._constraint(options.grammar))
            reply = Reply(
                hold_back=self._hold_back(options),
                max_tokens=options.max_tokens,
                max_resets=options.max_resets,
                stops=options.stop,
                show_discarded=options.show_discarded,
            )
            self._reply = reply
            voice = Voice(self.info.name, self.memory, self.vocabulary, sampler, self._resume)
            rule = ResetRule()
            if contract:
                bias = contract.reset_bias if options.reset_bias is None else options.reset_bias
                rule = ResetRule(contract.token_id, options.after_reset or contract.after_reset, bias)
            try:
                yield from generate(voice, prompt, prefill, rule, reply)
            finally:
                sampler.close()
                self._reply = None
                if self._again:
                    self._again.end([*prompt, *reply.ids])
                self.context.rest()
        except TakebackError as error:
            yield Error(clean_line(str(error)))

    def _constraint(self, grammar: str) -> Constraint | None:
        """What holds a reply to the grammar; None where there is none."""
        if not grammar:
            return None
        check_grammar(grammar)
        return Constraint(self.vocabulary, grammar)

    def _hold_back(self, options: GenerateOptions) -> int:
        """How many tokens the screen lags: none for a model that cannot take back."""
        contract = self.info.contract
        if options.hold_back is not None:
            return options.hold_back
        return contract.hold_back if contract and options.after_reset != "off" else 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens the conversation takes, up to the start of the next reply."""
        return len(self.template.ids(messages))

    def prompt_parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The prompt of a conversation in pieces, each with whether it is the template's own text."""
        parts = [(part.text, part.index is None) for part in self.template.parts(messages)]
        bos = self.vocabulary.bos
        if self.vocabulary.adds_bos and bos is not None:
            start = self.vocabulary.text(bos)
            if parts and not parts[0][0].startswith(start):
                parts.insert(0, (start, True))
        return parts

    @property
    def held(self) -> int:
        """How many tokens of the reply that is being written are held back. From any thread."""
        reply = self._reply
        return 0 if reply is None or reply.ended else reply.held

    def cancel(self) -> None:
        """Stop the reply that is being written, within one step of the model. From any thread."""
        self.context.cancel()

    def close(self) -> None:
        """Free the model and wipe its memory. May be called twice."""
        if self._closing:
            return
        self._closing = True
        self.context.cancel()  # nothing needs to be read for a next turn
        try:
            self._end_running()
            self._keep_read()
        finally:  # whatever has failed
            self.memory.forget()
            self.context.free()
            if self._owns:
                self.model.free()

    def _keep_read(self) -> None:
        """Keep what was read for the next start: all of it, or of the system message alone."""
        if self._again is None or not (self._keeps_all or self._system):
            return
        with suppress(TakebackError):
            self._again.keep(None if self._keeps_all else self._system_ids)

    def _system_ids(self) -> list[int]:
        """What every prompt with the last one's system message begins with."""
        system = Message("system", self._system)
        one, other = (self.template.ids([system, Message("user", text)]) for text in ("a", "1"))
        return one[: common_beginning(one, other)]

    def _resume(self) -> None:
        """Let decodes run after a cancel, unless the session ends."""
        if not self._closing:
            self.context.uncancel()

    def _end_running(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            with suppress(TakebackError):
                running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
