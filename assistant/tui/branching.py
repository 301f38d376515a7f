"""The part of the chat's screen that goes back: edits, replies written again or continued, versions."""

from __future__ import annotations

import asyncio

from assistant.conversation.records import CUT_OFF, Entry
from assistant.conversation.reports import Request
from assistant.tui.paging import PagingScreen
from assistant.tui.widgets.message import MessageView
from convert.errors import TakebackError
from convert.untrusted import clean


class BranchingScreen(PagingScreen):
    """One chat, its replies, and its branches.

    What is asked for is for the message with the focus, or else for the last one that it can be for.
    """

    _editing: int | None = None
    _set_aside = ""
    _sending = False

    async def action_edit(self) -> None:
        """Put what the user said into the prompt; sending it begins a new branch."""
        entry = await self._stored("user")
        if entry is None:
            return
        if self._editing is None:
            self._set_aside = self._prompt.text
        self._editing = entry.id
        self._prompt.fill(clean(entry.text))
        self._prompt.border_title = "Editing: Enter begins a branch, Esc leaves it"
        self._prompt.focus()

    def _end_editing(self) -> None:
        """Give the prompt back what was in it."""
        if self._editing is not None:
            self._editing = None
            self._prompt.fill(self._set_aside)
            self._prompt.border_title = ""

    async def action_regenerate(self) -> None:
        """Have a reply written again; the old one is kept as a version."""
        entry = await self._stored("assistant")
        if entry is not None:
            await self._write(Request(entry.chat, instead_of=entry.id))
        elif self._chat is not None and self._request is None and self._transcript.last("user") is not None:
            await self._ask(Request(self._chat))  # a message that was not answered

    async def action_continue_reply(self) -> None:
        """Go on with a reply that was cut off. It is then one with its beginning, also when it is taken back."""
        entry = await self._stored("assistant")
        if entry is None:
            return
        if entry.reason not in CUT_OFF or not entry.text:
            self._show_state("This reply was not cut off; /again has it written again")
            return
        if self._transcript.newest != entry.id or self._transcript.rest_below:
            self._show_state("More was said after this reply, which would be lost; /again keeps it")
            return
        await self._write(Request(entry.chat, instead_of=entry.id, beginning=entry.text))

    async def _write(self, request: Request) -> None:
        """Ask for another reply at the place of one, which leaves the screen with all that follows it."""
        assert request.instead_of is not None
        self._end_editing()
        await self._transcript.cut(request.instead_of)
        await self._ask(request)
        self._prompt.focus()

    async def action_older_version(self) -> None:
        """Show the version before this one, with its branch."""
        await self._show_version(-1)

    async def action_newer_version(self) -> None:
        """Show the next version, with its branch."""
        await self._show_version(1)

    async def _show_version(self, step: int) -> None:
        if not isinstance(self.focused, MessageView):
            await self._show_end()
        several = [view for view in self.query(MessageView) if view.versions > 1]
        view = self.focused if isinstance(self.focused, MessageView) else several[-1] if several else None
        if self._history is None or self._chat is None or view is None or view.entry is None:
            self._show_state("No message here has another version")
            return
        if self._busy():
            return
        try:
            other = await asyncio.to_thread(self._history.show_version, view.entry, step)
            if other is None:
                self._show_state("There is no other version that way")
                return
            self._end_editing()
            await self._show_chat(self._chat, other)
        except TakebackError as error:
            self._show_problem(error)

    async def _stored(self, role: str) -> Entry | None:
        """The message to do something with, as it is stored; None where there is none, or not now."""
        focused = self.focused
        if not isinstance(focused, MessageView):
            await self._show_end()
        view = focused if isinstance(focused, MessageView) else self._transcript.last(role)
        if self._history is None or view is None or view.entry is None or view.role != role or self._busy():
            return None
        try:
            return await asyncio.to_thread(self._history.entry, view.entry)
        except TakebackError as error:
            self._show_problem(error)
            return None

    def _busy(self) -> bool:
        """Whether a message is being sent, or a reply written; says so."""
        if self._request is not None:
            self._show_state("Not yet: wait for this reply, or press Esc to stop it", "$text-warning")
        elif self._sending:
            self._show_state("Not yet: the message is being sent", "$text-warning")
        return self._sending or self._request is not None
