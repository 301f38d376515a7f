"""What the user may mean, above the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from assistant.tui.completion import Suggestion
from convert.untrusted import clean_line


class Suggestions(OptionList, can_focus=False):
    """A list that is there only while there is something in it. The prompt moves the mark in it."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._offered: list[Suggestion] = []
        self.display = False

    def offer(self, suggestions: Sequence[Suggestion]) -> None:
        """Show these, the first one marked; none: go away."""
        if list(suggestions) == self._offered:
            return
        self._offered = list(suggestions)
        self.clear_options()
        self.add_options([Option(_line(suggestion)) for suggestion in suggestions])
        self.display = bool(suggestions)
        if suggestions:
            self.highlighted = 0

    def move(self, rows: int) -> None:
        """Mark another one, round the ends."""
        self.highlighted = ((self.highlighted or 0) + rows) % max(1, len(self._offered))

    @property
    def marked(self) -> Suggestion | None:
        """The one that is marked, or None where nothing is offered."""
        return self._offered[self.highlighted or 0] if self._offered else None


def _line(suggestion: Suggestion) -> Content:
    return Content.assemble(
        (clean_line(suggestion.insert), "bold"), (f"  {clean_line(suggestion.about)}", "$foreground-muted")
    )
