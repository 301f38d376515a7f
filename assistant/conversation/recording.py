"""Keeps a reply's row in the store in step with its events."""

from __future__ import annotations

import time
from collections.abc import Callable

from assistant.conversation.history import History
from assistant.engine.events import Done, Error, Event, Reset, Text
from convert.errors import TakebackError

SECONDS_BETWEEN_WRITES = 1.0


class Recording:
    """One reply on its way into the store.

    A store that fails does not end the reply: `problem` is called once, with one line for the user.

    It may be said at the place of another message, `instead_of`, which is kept; but where it goes on with that
    one's text, `beginning`, it replaces it: taking back what it says takes back its beginning as well.
    """

    def __init__(
        self,
        history: History,
        chat: int,
        vocab_sha256: str,
        problem: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        instead_of: int | None = None,
        beginning: str = "",
    ) -> None:
        self._history = history
        self._vocab_sha256 = vocab_sha256
        self._problem = problem
        self._clock = clock
        self._instead_of = instead_of
        self._beginning = beginning
        self._shown = ""
        self._stored = ""
        self._written_at = self._text_at = clock()
        self._resets = 0
        self._shown_resets = 0
        self._settled = False
        self._reply: int | None = None
        self._try(lambda: self._begin(chat))

    @property
    def entry(self) -> int | None:
        """The id of the reply's message, or None where it could not be stored."""
        return self._reply

    def feed(self, event: Event) -> None:
        """Take the reply's next event. A reset is in the store, and the draft out of it, on return."""
        if isinstance(event, Text):
            self._shown += event.text
            now = self._clock()
            pause, self._text_at = now - self._text_at, now
            # Where the next text may come too late for it, now: a slow model's last words are older than a second.
            if now + pause - self._written_at >= SECONDS_BETWEEN_WRITES:
                self._grow()
        elif isinstance(event, Reset):
            self._resets += 1
            self._shown_resets += bool(event.shown_chars or event.shown_prefill_chars)
            self._forget()
            self._erase_beginning()
        elif isinstance(event, Done):
            self._settle(event.text, event.reason, event.ids)
        elif isinstance(event, Error):
            self._settle(self._shown, "error", None)

    def end(self) -> None:
        """Finish the reply if no event did: it is then stored as far as it was shown."""
        if not self._settled:
            self._settle(self._shown, "error", None)

    def _begin(self, chat: int) -> None:
        self._reply = self._history.begin(chat, instead_of=self._instead_of)

    def _grow(self) -> None:
        self._written_at = self._clock()
        self._try(self._store_shown)

    def _store_shown(self) -> None:
        if not self._shown.startswith(self._stored):
            self._take_back()  # again: it failed at the reset
        self._stored = self._shown  # before it is written: a write that fails may leave a part in the log
        self._history.grow(self._row, self._shown)

    def _forget(self) -> None:
        self._shown = ""
        self._try(self._take_back)

    def _take_back(self) -> None:
        if self._stored:
            self._history.take_back(self._row)
            self._stored = ""  # not before: what is still there must be taken back before the next write

    def _settle(self, text: str, reason: str, ids: tuple[int, ...] | None) -> None:
        if text.startswith(self._stored):
            self._stored = ""  # it stays
        else:
            self._forget()
        self._settled = True
        self._shown = ""
        self._try(
            lambda: self._history.settle(
                self._row,
                text,
                reason=reason,
                resets=self._resets,
                shown_resets=self._shown_resets,
                ids=ids or None,
                vocab_sha256=self._vocab_sha256 if ids else None,
            )
        )
        self._try(self._take_back)  # if it failed above: the row is gone by now, but not the log's copy
        if came_to_nothing(self._instead_of, self._beginning, text, self._resets):
            self._try(self._withdraw)
        else:
            self._erase_beginning()

    def _withdraw(self) -> None:
        """Leave the message at whose place this was to be as it was."""
        assert self._instead_of is not None
        self._history.erase(self._row)
        self._history.show_branch(self._instead_of)

    def _erase_beginning(self) -> None:
        if self._beginning and self._instead_of is not None:
            replaced, self._beginning = self._instead_of, ""
            self._try(lambda: self._history.erase(replaced))

    @property
    def _row(self) -> int:
        if self._reply is None:
            raise TakebackError("this reply could not be stored from its beginning on")
        return self._reply

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except TakebackError as error:
            report, self._problem = self._problem, _ignore
            report(f"This reply is not stored: {error}")


def came_to_nothing(instead_of: int | None, beginning: str, text: str, resets: int) -> bool:
    """Whether a reply that was to stand at the place of another did not come as far as that."""
    return instead_of is not None and not resets and not (text and text.startswith(beginning))


def _ignore(problem: str) -> None:
    """What is wrong with the store was said once already."""
