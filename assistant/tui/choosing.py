"""The part of the chat's screen that chooses for a chat: its model, its system message, how it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from textual import work
from textual.message import Message

from assistant.conversation.chosen import as_text, of_text
from assistant.conversation.model_thread import Loader
from assistant.conversation.presets import presets
from assistant.conversation.reports import Loaded, LoadFailed, Loading
from assistant.engine.options import GenerateOptions
from assistant.models.library import lasting
from assistant.tui.chat_form import ChatForm, PresetsScreen
from assistant.tui.composing import ComposingScreen
from assistant.tui.fetching import Fetching
from assistant.tui.form import Values, told
from assistant.tui.replying import called
from assistant.tui.widgets.lines import Header
from assistant.tui.widgets.message import Notice
from convert.errors import TakebackError
from convert.untrusted import clean_line


class ChoosingScreen(ComposingScreen):
    """One chat, and what is chosen for it."""

    class Fetched(Message):
        """A model that was asked for is here, or will not be."""

    def __init__(
        self,
        load: Loader,
        database: Path,
        model_name: str,
        options: GenerateOptions | None,
        system: str | None,
    ) -> None:
        """`system` is for the chats begun here."""
        super().__init__(load, database, model_name, options, system)
        self._system_of_new = system
        self._own_model = ""
        self._choices: Values = {}
        self._trying: str | None = None
        self._fetching = Fetching(lambda: self.post_message(self.Fetched()))

    def load_by_name(self, own: str, named: Callable[[str], Loader]) -> None:
        """Let models be chosen; `own` is the name of the one that the program begins with."""
        self._own_model = lasting(own)
        self._model.by_name(self._own_model, named)

    # What was chosen for the chat that is shown

    async def _show_chat(self, chat: int, message: int | None = None) -> None:
        await super()._show_chat(chat, message)
        await self._take_up()

    async def _take_up(self) -> None:
        """Go by what was chosen for this chat, its model first; for one that is not begun, that is little yet."""
        chat, self._trying = self._chat, None
        choices: Values = {}
        if chat is None:
            self._system = self._system_of_new
            choices = {"system": self._system} if self._system else {}
        elif self._history is not None:
            try:
                stored = await asyncio.to_thread(self._history.chat, chat)
                if stored is not None:
                    choices = {"system": stored.system} if stored.system else {}
                    choices |= of_text(stored.chosen)
            except TakebackError as error:
                await self._transcript.add(Notice(str(error)))
        if chat == self._chat:
            self._choices = choices
            self._want(self._chosen_model)
            self._show_model()

    @property
    def _chosen_model(self) -> str | None:
        name = self._choices.get("model")
        return name if isinstance(name, str) else None

    def _want(self, name: str | None, *, again: bool = False) -> None:
        """Have a model loaded, if it is another one, or is to be tried again."""
        name = self._model.own_name(name)
        if name != self._wanted or again:
            self._wanted, self._ready = name, False
            self._model_name = called(name or self._own_model)
            self._show_model()
            self._show_state("Loading the model…")
            self._model.take(name)

    async def _keep(self, choices: Values, said: str) -> None:
        """Store what is chosen for this chat; one that is not begun keeps it until then."""
        rest = {name: value for name, value in choices.items() if name != "system"}
        system = choices.get("system")
        system = system if isinstance(system, str) else None
        chat = self._chat
        if chat is None:
            self._system = system
        elif self._history is not None:
            try:
                await asyncio.to_thread(self._history.set_up, chat, system, as_text(rest))
            except TakebackError as error:
                self._show_problem(error)
                return
            if chat != self._chat:
                return  # another one is shown by now
        self._choices = choices
        self._show_model()
        self._look_at_chat()
        self._show_state(said)

    def _with_model(self, choices: Values) -> Values:
        """Other choices for this chat, whose model stays."""
        model = self._chosen_model
        return choices if model is None else {**choices, "model": model}

    def _new_choices(self) -> str | None:
        """What is chosen for a chat that is about to begin, beside its system message."""
        return as_text({name: value for name, value in self._choices.items() if name != "system"})

    def _show_model(self) -> None:
        off = self._choices.get("after_reset") == "off"
        self.query_one(Header).show_model(
            self._model_name, self._takes_back if self._ready else None, off=off
        )

    # The model

    def action_model(self, name: str = "") -> None:
        """Choose this chat's model: by its name, or in the list."""
        if self._history is None or self._busy():
            return
        if not self._own_model:
            self._show_state("This chat has only the model that it began with")
        elif name:
            self._try(lasting(name))
        else:
            from assistant.tui.models import ModelsScreen  # noqa: PLC0415 (numpy; not before the first paint)

            present = self._chosen_model or self._own_model
            self.app.push_screen(ModelsScreen(present, self._own_model, self._fetching), self._try)

    def _try(self, name: str | None) -> None:
        """Load a model for this chat; it is the chat's once it is loaded."""
        if name is None or self._busy():
            return
        if self._ready and self._model.own_name(name) == self._wanted:
            self._show_state(f"{called(name)} is the model of this chat already")
            return
        self._trying = name
        self._want(name, again=True)

    def _busy(self) -> bool:
        if self._trying is not None:  # what is said now would be answered by the one before
            self._show_state(f"Not yet: {called(self._trying)} is being loaded", "$text-warning")
            return True
        return super()._busy()

    async def _take_loading(self, report: Loading | Loaded | LoadFailed) -> None:
        await super()._take_loading(report)
        tried = self._trying
        if tried is None or isinstance(report, Loading) or report.name != self._model.own_name(tried):
            return
        self._trying = None
        if isinstance(report, Loaded):
            await self._keep({**self._choices, "model": tried}, f"{called(tried)} answers in this chat now")
            if self._takes_back:  # else the screen says so already
                await self._transcript.add(Notice(f"{called(tried)}: it can take back what it says"))
        elif self._model.own_name(self._chosen_model) != report.name:
            self._want(self._chosen_model)  # the one before

    def on_choosing_screen_fetched(self) -> None:
        """Say so, wherever the user is."""
        if (model := self._fetching.model) is not None:
            self._show_state(f"Fetched {clean_line(model.name)}; /model chooses it")
        else:
            self._show_state(self._fetching.problem, "$text-warning")

    # The options

    @work(exclusive=True, group="options")
    async def action_options(self) -> None:
        """Show this chat's options in a form, and keep what is changed."""
        if self._history is None:
            return
        chat = self._chat
        base = self._model.options or GenerateOptions()
        kept = await self.app.push_screen_wait(ChatForm(self._choices, told(vars(base))))
        if kept is None or chat != self._chat:
            return
        await self._keep(self._with_model(kept), "Kept for this chat; it counts from the next reply on")

    @work(exclusive=True, group="options")
    async def action_preset(self, name: str = "") -> None:
        """Give this chat the options of a preset: by its name, or chosen in a list."""
        if self._history is None:
            return
        chosen: tuple[str, Values] | None
        if name:
            try:
                there = await asyncio.to_thread(presets)
            except TakebackError as error:
                self._show_problem(error)
                return
            if name not in there:
                names = ", ".join(there) or "none; /options saves one with F3"
                self._show_state(f"There is no preset {name}; there is {names}", "$text-warning")
                return
            chosen = name, there[name]
        else:
            chosen = await self.app.push_screen_wait(PresetsScreen())
        if chosen is not None:
            await self._keep(self._with_model(chosen[1]), f"{chosen[0]}: it counts from the next reply on")
