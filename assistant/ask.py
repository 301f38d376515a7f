"""One question, one reply: what `takeback ask` does."""

import argparse
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType

from assistant.ask_output import JsonOutput, Output, RunningOutput, StatusLine, TerminalOutput, WholeOutput
from assistant.engine.events import Done, Error, Event, Prefill, Reset
from assistant.engine.grammar import read_grammar_file
from assistant.engine.message import Message, load_messages
from assistant.engine.options import GenerateOptions, LoadOptions, generate_options, load_options
from assistant.engine.session import Session
from assistant.models.library import resolve
from assistant.settings import Settings, load_settings
from assistant.usage import UsageError
from convert.errors import TakebackError
from convert.untrusted import clean, clean_line

_ENDS = {
    "length": "the reply was cut off at --max-tokens",
    "context_full": "the reply was cut off: the context is full; raise --ctx",
    "reset_limit": "the model took back every draft, so there is no reply",
    "cancelled": "interrupted",
}
_MAX_INPUT_CHARACTERS = 16 << 20


def ask(args: argparse.Namespace) -> int:
    """Write one reply and return the exit status. The flags are those of `assistant.cli_ask`.

    Raises UsageError for what the flags say wrongly, and with --json no other TakebackError: those become
    the last event.
    """
    try:
        return _answer(args)
    except UsageError:
        raise
    except TakebackError as error:
        if not args.json:
            raise
        JsonOutput(sys.stdout).take(Error(clean_line(str(error))))
        return 1


def _answer(args: argparse.Namespace) -> int:
    settings = load_settings(vars(args))
    try:
        chosen = load_options(settings, keeps="system")
        reply = generate_options(settings, prefill=args.prefill, show_discarded=args.show_discarded)
    except TakebackError as error:
        raise UsageError(str(error)) from error
    reply = replace(reply, grammar=_grammar(args))
    messages = _messages(args, settings)
    plain = bool(settings.plain) or os.environ.get("TERM") == "dumb"
    output = _output(args, plain=plain)
    status = StatusLine(sys.stderr, shown=sys.stderr.isatty() and not plain)
    try:
        return _Interruptible(status).run(settings.model, chosen, messages, reply, output)
    finally:
        status.clear()


def _messages(args: argparse.Namespace, settings: Settings) -> list[Message]:
    """The conversation that the flags and standard input make."""
    if args.messages is not None:
        if args.text is not None or args.system is not None:
            raise UsageError("--messages holds the whole conversation; leave out TEXT and --system")
        return load_messages(args.messages)
    text = args.text
    if text is None:
        if sys.stdin.isatty():
            _tell("end your question with Ctrl-D on a line of its own")
        text = _read_input()
    if not text.strip():
        raise UsageError("there is nothing to ask; give TEXT or standard input")
    system = [Message("system", settings.system)] if settings.system else []
    return [*system, Message("user", text)]


def _grammar(args: argparse.Namespace) -> str:
    """The grammar that the reply must follow; none where nothing asks for one."""
    path = args.grammar or args.json_schema
    return read_grammar_file(path, schema=args.grammar is None) if path else ""


def _read_input() -> str:
    try:
        text = sys.stdin.read(_MAX_INPUT_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise TakebackError(f"standard input is no text in {error.encoding}; convert it first") from error
    if len(text) > _MAX_INPUT_CHARACTERS:
        raise TakebackError("standard input is longer than 16 million characters; no model reads that")
    return text


def _output(args: argparse.Namespace, *, plain: bool) -> Output:
    stream = sys.stdout
    if args.json:
        return JsonOutput(stream)
    if stream.isatty():
        kind = RunningOutput if plain else TerminalOutput
        return kind(stream, paragraphs=not args.stream)
    return RunningOutput(stream, paragraphs=False) if args.stream else WholeOutput(stream)


class _Interruptible:
    """A reply that Ctrl-C ends properly: once asks the model to stop, twice ends the program.

    Python sees to a signal only between its own steps, and reading a long prompt is one step. So the model
    works in a thread of its own, and the main thread, which hears of the signal, tells it to stop.
    """

    def __init__(self, status: StatusLine) -> None:
        self._status = status
        self._session: Session | None = None
        self._interrupted = False

    def run(
        self,
        model: str | None,
        options: LoadOptions,
        messages: list[Message],
        reply: GenerateOptions,
        output: Output,
    ) -> int:
        """Load the model and write the reply; returns the exit status."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            with Session.open(resolve(model, self._progress), options, self._progress) as session:
                self._session = session
                self._status.clear()
                _note(session)
                return self._follow(session, messages, reply, output)
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        if self._session:
            self._session.cancel()

    def _progress(self, what: str, done: int, total: int) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._status.show(f"{clean_line(what)} {100 * done // max(total, 1)} %")

    def _follow(
        self, session: Session, messages: list[Message], reply: GenerateOptions, output: Output
    ) -> int:
        failed = False
        for event in _in_thread(session, messages, reply):
            if self._interrupted:
                session.cancel()  # the signal may have come before the reply had begun
            if isinstance(event, Prefill) and event.done < event.total:
                self._status.show(f"reading the prompt {100 * event.done // event.total} %")
                if not isinstance(output, JsonOutput):
                    continue
            self._status.clear()
            output.take(event)
            if isinstance(output, JsonOutput):
                failed = isinstance(event, Error)
                cancelled = isinstance(event, Done) and event.reason == "cancelled"
            else:
                cancelled = _say(event)
            if cancelled:
                return 130
        return 1 if failed else 0


def _in_thread(session: Session, messages: list[Message], reply: GenerateOptions) -> Iterator[Event]:
    """The events of a reply that another thread generates."""
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for event in session.generate(messages, reply):
                events.put(event)
                if isinstance(event, Done | Error):
                    break  # there is no next turn to get ready for
            events.put(None)
        except BaseException as error:
            events.put(error)

    worker = threading.Thread(target=work, name="model")
    worker.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        session.cancel()
        worker.join()


def _say(event: Event) -> bool:
    """Tell the user in words what is not in the reply's text; returns whether it was cancelled."""
    if isinstance(event, Error):
        raise TakebackError(event.message)
    if isinstance(event, Reset) and event.discarded is not None:
        _tell(f"taken back: {clean(event.discarded)}")
    if isinstance(event, Done) and event.reason in _ENDS:
        _tell(f"{_ENDS[event.reason]}")
    return isinstance(event, Done) and event.reason == "cancelled"


def _note(session: Session) -> None:
    """Say what the user should know of the model."""
    note = session.info.note
    if session.info.contract is None and not note:
        note = "it cannot take back what it writes"
    if note:
        _tell(f"{clean_line(session.info.name)}: {clean_line(note)}")


def _tell(line: str) -> None:
    """Write a line for the user beside the reply."""
    sys.stderr.write(f"takeback: {line}\n")
