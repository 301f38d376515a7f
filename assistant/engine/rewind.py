"""The rule of a reply that may be taken back: token ids and their bytes in, events out.

A pure state machine. It knows nothing of a model: who drives it says which token came and when a reset fired.
What is held back stays a list of ids and of the vocabulary's own byte strings; it is joined to text only when
it is shown.
"""

import codecs
from collections.abc import Iterator, Sequence

from assistant.engine.events import Reason, Reset, Text
from convert.untrusted import clean


class Reply:
    """One reply, from its first draft to its end.

    Tokens are shown once `hold_back` newer ones have come, and all of them at the end. A reset takes back the
    whole draft, its prefilled beginning included. `ended` is None until the reply is over; then it is why.
    """

    def __init__(
        self,
        *,
        hold_back: int = 0,
        max_tokens: int | None = None,
        max_resets: int = 4,
        stops: Sequence[str] = (),
        show_discarded: bool = False,
    ) -> None:
        self._hold_back = hold_back
        self._max_tokens = max_tokens
        self._max_resets = max_resets
        self._stops = [stop.encode("utf-8", "replace") for stop in stops]
        self._stop_room = max(map(len, self._stops), default=1) - 1  # bytes in which a stop text may begin
        self._show_discarded = show_discarded
        self.ended: Reason | None = None
        self.resets = 0
        self.discarded_tokens = 0
        self._new_draft()

    def _new_draft(self) -> None:
        self._ids: list[int] = []
        self._pieces: list[bytes] = []
        self._prefilled = 0  # how many of them are the prefilled beginning
        self._whole = 0  # how many of them are wholly part of the reply: all but one that a stop text cut
        self._released = 0  # how many of them were shown
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._shown: list[str] = []
        self._shown_chars = [0, 0]  # generated, prefilled

    @property
    def text(self) -> str:
        """What is shown of the reply so far, and at the end all of it."""
        return "".join(self._shown)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of what is shown, and at the end those of the whole reply."""
        return tuple(self._ids[: min(self._released, self._whole)])

    @property
    def held(self) -> int:
        """How many tokens are written, and held back from the screen."""
        return len(self._ids) - self._released

    def prefill(self, ids: Sequence[int], pieces: Sequence[bytes]) -> Iterator[Text]:
        """Begin the first draft with tokens that the user wrote for the model."""
        self._ids += ids
        self._pieces += pieces
        self._prefilled = self._whole = len(self._ids)
        yield from self._release(len(self._ids) - self._hold_back)

    def add(self, token: int, piece: bytes) -> Iterator[Text]:
        """Take the next token of the draft and the bytes it stands for. It may end the reply."""
        self._ids.append(token)
        self._pieces.append(piece)
        self._whole += 1
        if self._cut_at_stop():
            self.ended = "stop"
        elif self._max_tokens is not None and len(self._ids) - self._prefilled >= self._max_tokens:
            self.ended = "length"
        else:
            yield from self._release(min(len(self._ids) - self._hold_back, self._before_stop()))

    def reset(self, rewind_ms: float = 0.0) -> Reset:
        """Take the draft back. One reset too many ends the reply, with nothing to show."""
        discarded = None
        if self._show_discarded:
            discarded = clean(b"".join(self._pieces).decode("utf-8", "replace"))
        generated, prefilled = self._shown_chars
        event = Reset(len(self._ids), generated, prefilled, rewind_ms, discarded)
        self.resets += 1
        self.discarded_tokens += len(self._ids)
        self._new_draft()
        if self.resets > self._max_resets:
            self.ended = "reset_limit"
        return event

    def finish(self, reason: Reason) -> Iterator[Text]:
        """End the reply, unless it is over. What is held back is shown now, but thrown away on a cancel."""
        self.ended = self.ended or reason
        if self.ended == "cancelled":
            self._drop_tail()
            return
        yield from self._release(len(self._ids))
        yield from self._show(self._decoder.decode(b"", final=True), self._released - 1)

    def abandon(self) -> None:
        """End the reply here if it is not over: nobody reads on. What was never shown is thrown away."""
        self.ended = self.ended or "cancelled"
        self._drop_tail()

    def _release(self, count: int) -> Iterator[Text]:
        """Show the first `count` tokens of the draft, those that are not shown yet, in one event."""
        parts: list[Text] = []
        while self._released < count:
            index = self._released
            parts += self._show(self._decoder.decode(self._pieces[index]), index)
            self._released += 1
        if parts:
            yield Text("".join(part.text for part in parts))

    def _show(self, text: str, index: int) -> Iterator[Text]:
        """Count text that the token at `index` completed as shown."""
        if text:
            text = clean(text)
            self._shown.append(text)
            self._shown_chars[index < self._prefilled] += len(text)
            yield Text(text)

    def _drop_tail(self) -> None:
        """Throw away what was never shown: the tokens held back, and those of half a character."""
        pending = len(self._decoder.getstate()[0])
        while pending > 0:
            self._released -= 1
            pending -= len(self._pieces[self._released])
        del self._ids[self._released :], self._pieces[self._released :]

    def _cut_at_stop(self) -> bool:
        """If the last token completed a stop text, cut it off with all that follows it."""
        if not self._stops:
            return False
        tail = b"".join(self._pieces[self._generated_tail() :])
        found = [place for stop in self._stops if (place := tail.find(stop)) >= 0]
        if not found:
            return False
        surplus = len(tail) - min(found)
        while surplus:
            last = self._pieces.pop()
            kept = last[: max(0, len(last) - surplus)]
            surplus -= len(last) - len(kept)
            self._whole = min(self._whole, len(self._pieces))
            if kept:
                self._pieces.append(kept)
            else:
                self._ids.pop()
        return True

    def _generated_tail(self) -> int:
        """The index of the first token in which a stop text that the last one completes may begin."""
        index, room = len(self._pieces) - 1, self._stop_room
        while index > self._prefilled and room > 0:
            index -= 1
            room -= len(self._pieces[index])
        return index

    def _before_stop(self) -> int:
        """How many tokens no stop text that is still to be completed can reach."""
        index, room = len(self._pieces), self._stop_room
        while index > 0 and room > 0:
            index -= 1
            room -= len(self._pieces[index])
        return index
