"""A model of the hub: its repository is named, one of its files chosen, and that one fetched."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, ProgressBar, Static
from textual.widgets.option_list import Option

from assistant.tui.fetching import Fetching
from assistant.tui.widgets.ask import Line
from convert.errors import TakebackError
from convert.hub_gguf import list_gguf, megabytes
from convert.hub_part import Stated
from convert.untrusted import clean_line

SECONDS_BETWEEN_LOOKS = 0.25
PRIVACY = "Enter asks the hub for it, over the network. No chat is sent."


class PullScreen(ModalScreen[str | None]):
    """Gives back the name of a model that was fetched, or None. What is being fetched goes on when it is left."""

    CSS_PATH = "form.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("ctrl+x", "stop", "Stop", show=False, priority=True),
    ]
    KEYS = "Enter look, then fetch   Ctrl+X stop   Esc back"

    def __init__(self, fetching: Fetching) -> None:
        super().__init__()
        self._fetching = fetching
        self._source = ""
        self._files: list[Stated] = []
        self._followed = fetching.runs

    def compose(self) -> ComposeResult:
        """Which repository, which of its files, and how far it is."""
        with Vertical(classes="panel"):
            yield Static(
                Content("A model of the Hugging Face hub").stylize("bold $text-primary"), markup=False
            )
            yield Line(placeholder="ORG/NAME of its repository, or ORG/NAME@REVISION")
            yield OptionList(markup=False)
            yield ProgressBar(total=1, show_eta=False, show_percentage=False)
            yield Static("", markup=False, id="said")
            yield Static(self.KEYS, markup=False, classes="hint")

    def on_mount(self) -> None:
        """Where one is being fetched, how far it is."""
        self._line.cursor_blink = False
        self._line.focus()
        self._say(PRIVACY)
        self.set_interval(SECONDS_BETWEEN_LOOKS, self._look)
        self._look()

    def on_input_submitted(self) -> None:
        """Look what there is."""
        if source := self._line.value.strip():
            self._list_files(source)

    @work(exclusive=True, group="list")
    async def _list_files(self, source: str) -> None:
        self._say(f"Asking the hub for {source}…")
        files = self.query_one(OptionList)
        try:
            self._files = await asyncio.to_thread(list_gguf, source)
        except TakebackError as error:
            self._files = []
            self._say(str(error), "$text-error")
        else:
            self._source = source
            self._say("Which one? Enter fetches it")
        files.clear_options()
        files.add_options([Option(_line(file)) for file in self._files])
        if self._files:
            files.highlighted = 0
            files.focus()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Fetch it."""
        file = self._files[message.option_index]
        self._followed = self._fetching.begin(self._source, file.name)
        if not self._followed:
            self._say("One at a time: Ctrl+X stops the one that is being fetched", "$text-warning")
        self._look()

    def action_stop(self) -> None:
        """Fetch no more of it."""
        if self._fetching.runs:
            self._fetching.stop()
            self._look()

    def _look(self) -> None:
        """Show how far it is, or what came of it."""
        if not self.is_current:
            return
        bar = self.query_one(ProgressBar)
        bar.display = self._fetching.runs
        if self._fetching.runs:
            self._followed = True
            bar.update(progress=self._fetching.part)
            self._say(f"{self._fetching.line()}. It goes on when you leave")
        elif self._followed:
            self._followed = False
            if self._fetching.model is not None:
                self.dismiss(self._fetching.model.name)
            else:
                self._say(self._fetching.problem, "$text-warning")

    def _say(self, text: str, style: str = "") -> None:
        self.query_one("#said", Static).update(Content(clean_line(text)).stylize(style))

    @property
    def _line(self) -> Line:
        return self.query_one(Line)


def _line(file: Stated) -> Content:
    return Content.assemble((f"{megabytes(file.nbytes):>10}  ", ""), (clean_line(file.name), "bold"))
