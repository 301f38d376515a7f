"""The line mode's commands for what is said: sent, edited, written again, continued, and the versions of it."""

from __future__ import annotations

from assistant.conversation.attachments import mentions, size_in_words, with_files
from assistant.conversation.chosen import as_text
from assistant.conversation.editor import edit as in_editor
from assistant.conversation.model_thread import LONG
from assistant.conversation.records import CUT_OFF, Entry
from assistant.conversation.reports import Request
from assistant.plain.chats import MOST_DIGITS, entries_of, place, told
from assistant.plain.talk import Talk
from convert.errors import TakebackError
from convert.untrusted import clean


def send(talk: Talk, text: str) -> None:
    """Store what the user says, and have it answered.

    Raises:
        TakebackError: it cannot be sent; it is kept for `send_unsent`.
        KeyboardInterrupt: Ctrl-C before it was stored; it is kept, too.
    """
    talk.reply(Request(_stored(talk, text)))


def _stored(talk: Talk, text: str) -> int:
    """Store what the user says, or keep it; returns its chat. Raises what `send` raises."""
    try:
        whole = _whole(talk, text.strip())
        chat = _store(talk, whole)
    except KeyboardInterrupt:
        talk.history.keep_unsent(place(talk), text)
        talk.note("Not sent. What you wrote is kept; /send sends it")
        raise
    except TakebackError as error:
        talk.history.keep_unsent(place(talk), text)
        raise TakebackError(f"not sent: {error}. What you wrote is kept; /send sends it") from error
    talk.chat, talk.editing = chat, None
    return chat


def _whole(talk: Talk, text: str) -> str:
    """A message with its files. Raises TakebackError if it cannot fit the context, as far as that is known."""
    for file in mentions(text):
        size = "no such file, so just words" if file.size is None else size_in_words(file.size)
        talk.note(f"{file.name}: {size}")
    whole = with_files(text)
    if len(whole) >= LONG and talk.await_model():
        talk.model.measure(whole).result()
    return whole


def _store(talk: Talk, text: str) -> int:
    """Store a message; returns its chat."""
    if talk.chat is None:
        return talk.history.new_chat(text, talk.system, as_text(talk.chosen))[0]
    talk.history.say(talk.chat, text, instead_of=talk.editing)
    return talk.chat


def send_unsent(talk: Talk) -> None:
    """Send what was written for this chat before and not sent."""
    at = place(talk)
    text = talk.history.unsent(at)
    if not text.strip():
        raise TakebackError("nothing is left here that was not sent")
    chat = _stored(talk, text)
    talk.history.keep_unsent(at, "")
    talk.reply(Request(chat))


def edit(talk: Talk, words: str) -> None:
    """Say a message of the user anew: the next one stands in its place, in a branch of its own."""
    entry = _chosen(talk, words, "user")
    talk.editing = entry.id
    talk.say(f"It was: {clean(entry.text)}")
    talk.note("Write it anew; /editor takes it into your editor, /leave leaves it as it is")


def leave(talk: Talk) -> None:
    """End editing."""
    if talk.editing is None:
        raise TakebackError("nothing is being edited")
    talk.editing = None
    talk.note("Left as it is")


def editor(talk: Talk) -> None:
    """Write the message in the user's own editor."""
    if not talk.lines.terminal:
        raise TakebackError("an editor needs a terminal")
    old = talk.history.entry(talk.editing) if talk.editing is not None else None
    text = clean(in_editor(old.text if old is not None else ""))
    if text.strip() and (offered := talk.lines.offer(text, "From the editor")):
        send(talk, offered)


def again(talk: Talk, words: str) -> None:
    """Have a reply written again; the old one is kept as a version. A message without one gets one."""
    entries = entries_of(talk)
    if not words and entries[-1].role == "user":
        talk.reply(Request(entries[-1].chat))
        return
    entry = _chosen(talk, words, "assistant")
    talk.reply(Request(entry.chat, instead_of=entry.id))


def go_on(talk: Talk) -> None:
    """Go on with the last reply, which was cut off. It is then one with its beginning."""
    entry = entries_of(talk)[-1]
    if entry.role != "assistant" or entry.reason not in CUT_OFF or not entry.text:
        raise TakebackError("the last message is no reply that was cut off; /again has one written again")
    talk.reply(Request(entry.chat, instead_of=entry.id, beginning=entry.text))


def older(talk: Talk, words: str) -> None:
    """Go to the version before this one, with its branch."""
    _show_version(talk, words, -1)


def newer(talk: Talk, words: str) -> None:
    """Go to the next version, with its branch."""
    _show_version(talk, words, 1)


def _show_version(talk: Talk, words: str, step: int) -> None:
    entries = entries_of(talk)
    if words:
        entry = _numbered(entries, words)
    else:
        several = [entry for entry in entries if entry.versions > 1]
        if not several:
            raise TakebackError("no message here has another version")
        entry = several[-1]
    other = talk.history.show_version(entry.id, step)
    if other is None:
        raise TakebackError("there is no other version that way")
    talk.editing = None
    shown = entries_of(talk)
    for number, entry in enumerate(shown, 1):
        if entry.id >= other:
            talk.say(told(entry, number))


def _chosen(talk: Talk, words: str, role: str) -> Entry:
    """The message of this role with this number, or the last one."""
    entries = entries_of(talk)
    if words:
        entry = _numbered(entries, words)
        if entry.role != role:
            whose = "yours" if role == "user" else "the assistant's"
            raise TakebackError(f"message {words} is not {whose}; /show tells the numbers")
        return entry
    last = next((entry for entry in reversed(entries) if entry.role == role), None)
    if last is None:
        raise TakebackError("there is no such message here")
    return last


def _numbered(entries: list[Entry], words: str) -> Entry:
    digits = words.isascii() and words.isdigit() and len(words) <= MOST_DIGITS
    if not digits or not 1 <= int(words) <= len(entries):
        raise TakebackError(f"there is no message {words} here; /show tells the numbers")
    return entries[int(words) - 1]
