"""The line mode's commands for chats as wholes: listed, found, opened, renamed, deleted, brought in and out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from assistant.conversation.export import NAMES, REMARKS, as_json, as_markdown
from assistant.conversation.reading import read_chat
from assistant.conversation.records import Chat, Entry
from assistant.conversation.shelf import NOT_BEGUN
from assistant.plain.talk import Talk
from convert.errors import TakebackError
from convert.untrusted import clean, clean_line
from convert.whole_file import write_text

MOST_CHATS = 20
"""More are found by their words."""
SHOWN = 10
"""Messages that are read where no number is given."""
MOST_DIGITS = 18
"""SQLite's numbers end at 64 bits."""


def new(talk: Talk) -> None:
    """Begin a new chat."""
    talk.chat, talk.editing, talk.chosen = None, None, {}
    talk.note("A new chat")
    tell_unsent(talk)


def list_chats(talk: Talk, words: str) -> None:
    """List the chats, or those with these words in their titles or their messages."""
    if words:
        search(talk, words)
        return
    chats = talk.history.chats(MOST_CHATS + 1)
    for chat in chats[:MOST_CHATS]:
        talk.say(_line(chat) + ", this one" * (chat.id == talk.chat))
    if len(chats) > MOST_CHATS:
        talk.note("There are more; /search WORDS finds them")
    talk.note("/open NUMBER opens one" if chats else "There are no chats yet")


def search(talk: Talk, words: str) -> None:
    """Find messages, and chats by their titles."""
    wanted = words.casefold().split()
    titles = [c for c in talk.history.chats() if all(word in c.title.casefold() for word in wanted)]
    for chat in titles[:MOST_CHATS]:
        talk.say(_line(chat))
    hits = talk.history.search(words)
    for hit in hits:
        talk.say(f"{_line(hit.chat)}, message {hit.message}: {clean_line(hit.excerpt)}")
    found = hits or titles
    talk.note("/open CHAT MESSAGE goes there" if found else "No chat has all of these words")


def open_chat(talk: Talk, words: str) -> None:
    """Open a chat, and where a message of it is named, go to that one's branch and read from there."""
    numbers = words.split()
    if not 1 <= len(numbers) <= 2:
        raise TakebackError("which one? /open CHAT, or /open CHAT MESSAGE; /chats lists them")
    chat = _find(talk, numbers[0])
    message = _number(numbers[1]) if len(numbers) > 1 else None
    if message is not None:
        stored = talk.history.entry(message)
        if stored is None or stored.chat != chat.id:
            raise TakebackError(f"chat {chat.id} has no message {message}; /search finds messages")
        talk.history.show_branch(message)
    talk.chat, talk.editing = chat.id, None
    tell_chat(talk, chat)
    if message is not None:
        entries = talk.history.entries(chat.id)
        at = next(place for place, entry in enumerate(entries) if entry.id == message)
        for place in range(max(0, at - 1), min(len(entries), at + 2)):
            talk.say(told(entries[place], place + 1))
    tell_unsent(talk)


def show(talk: Talk, words: str) -> None:
    """Read this chat's last messages, each with its number; `/show all` reads all."""
    entries = entries_of(talk)
    many = len(entries) if words == "all" else _number(words) if words else SHOWN
    for number, entry in enumerate(entries, 1):
        if number > len(entries) - many:
            talk.say(told(entry, number))


def rename(talk: Talk, title: str) -> None:
    """Give this chat another title."""
    if not title:
        raise TakebackError("which title? /rename TITLE")
    talk.history.rename(this(talk), title)
    talk.note("Renamed")


def delete(talk: Talk, words: str) -> None:
    """Delete a chat, or this one, so that /undo brings it back until the program ends."""
    chat = _find(talk, words or str(this(talk)))
    talk.history.hide(chat.id)
    talk.deleted.append(chat)
    talk.note(f"Deleted: “{chat.title}”. /undo brings it back, until you leave")
    if chat.id == talk.chat:
        new(talk)


def undo(talk: Talk) -> None:
    """Bring back the chat that was deleted last, and open it."""
    if not talk.deleted:
        raise TakebackError("nothing was deleted since the start")
    chat = talk.deleted[-1]
    try:
        talk.history.bring_back(chat.id)
    except TakebackError:
        if all(chat.id != other.id for other in talk.history.deleted()):
            talk.deleted.pop()  # it is gone for good; the one before it may still be there
        raise
    talk.deleted.pop()
    talk.chat, talk.editing = chat.id, None
    talk.note(f"Back again: “{chat.title}”")


def export(talk: Talk, name: str) -> None:
    """Write this chat into a new file: JSON where its name ends so, else Markdown; without a name, here."""
    chat = _find(talk, str(this(talk)))
    form = as_json if name.casefold().endswith(".json") else as_markdown
    text = form(chat, talk.history.entries(chat.id))
    if not name:
        talk.say(text.rstrip("\n"))
        return
    path = Path(name).expanduser()
    if path.exists():
        raise TakebackError(f"{name}: there is such a file already; choose another name")
    write_text(path, text)
    talk.note(f"Written: {name}")


def take_in(talk: Talk, name: str) -> None:
    """Store a chat that was exported, and open it."""
    if not name:
        raise TakebackError("which file? /import FILE")
    talk.chat, talk.editing = talk.history.take_in(read_chat(Path(name).expanduser())), None
    tell_chat(talk, _find(talk, str(talk.chat)))


def tell_chat(talk: Talk, chat: Chat) -> None:
    """Say which chat this is."""
    count = len(talk.history.entries(chat.id))
    many = "1 message" if count == 1 else f"{count} messages"
    talk.note(f"Chat {chat.id}, “{chat.title}”, {many}. /show reads them, /new begins another chat")


def tell_unsent(talk: Talk) -> None:
    """Say if something was written here and not sent."""
    if text := talk.history.unsent(place(talk)):
        talk.note(f"Not sent yet: {text[:200]}{'…' * (len(text) > 200)} /send sends it")


def place(talk: Talk) -> int:
    """The chat that is written for, as the store knows it."""
    return NOT_BEGUN if talk.chat is None else talk.chat


def told(entry: Entry, number: int) -> str:
    """A message as it is read."""
    remarks = [REMARKS[entry.reason]] if entry.reason in REMARKS else []
    if entry.state == "writing":
        remarks.append("still being written, in another Takeback")
    if entry.versions > 1:
        remarks.append(f"version {entry.version} of {entry.versions}")
    after = f"\n[{'; '.join(remarks)}]" if remarks else ""
    return f"{number}. {NAMES[entry.role]}: {clean(entry.text)}{after}"


def entries_of(talk: Talk) -> list[Entry]:
    """The messages of this chat's branch. Raises TakebackError where no chat is begun."""
    return talk.history.entries(this(talk))


def this(talk: Talk) -> int:
    """The chat that is open. Raises TakebackError where none is begun."""
    if talk.chat is None:
        raise TakebackError("this chat is not begun yet; write something first")
    return talk.chat


def _find(talk: Talk, words: str) -> Chat:
    number = _number(words)
    chat = talk.history.chat(number)
    if chat is None:
        raise TakebackError(f"there is no chat {number}; /chats lists them")
    return chat


def _number(words: str) -> int:
    if not words.isascii() or not words.isdigit() or len(words) > MOST_DIGITS:
        raise TakebackError(f"{words!r} is no number; /chats and /show tell the numbers")
    return int(words)


def _line(chat: Chat) -> str:
    when = datetime.fromtimestamp(chat.updated).astimezone().strftime("%Y-%m-%d")
    return f"{chat.id}. {clean_line(chat.title)}, {when}"
