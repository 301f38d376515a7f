"""What the user said before, one text after the other, as the prompt goes back over it."""

from __future__ import annotations

from collections.abc import Sequence


class Recall:
    """Goes back and forth over texts, the newest first; before them all is what the user is writing."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._place = 0
        """0 is what the user is writing, then come the texts."""

    def at_rest(self, now: str) -> bool:
        """Whether the text that is there now is the user's own, so that the texts should be read anew."""
        return self._place == 0 or now != self._texts[self._place]

    def begin(self, now: str, texts: Sequence[str]) -> None:
        """Go back from what the user is writing now."""
        self._texts = [now, *(text for text in texts if text != now)]
        self._place = 0

    def step(self, step: int) -> str | None:
        """The text so many places back, or None where there is none."""
        if not 0 <= self._place + step < len(self._texts):
            return None
        self._place += step
        return self._texts[self._place]
