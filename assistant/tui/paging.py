"""The part of the chat's screen that goes through a chat: pages of messages, its end, what others write in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from textual import work

from assistant.conversation.history import History
from assistant.conversation.records import Entry
from assistant.tui.replying import MESSAGES_A_PAGE, ReplyingScreen
from assistant.tui.widgets.message import MessageView, Notice
from convert.errors import TakebackError

MESSAGES_MORE = 20
"""That come as the reader scrolls: a few screens full, and not so many that the screen stands still for them."""

BELOW = "↓ More below"
WRITTEN_BELOW = "↓ The reply goes on below"


class PagingScreen(ReplyingScreen):
    """One chat with its replies, of which some messages are on the screen, and the rest in the store."""

    def action_page(self, pages: int) -> None:
        """Scroll the messages, from the prompt."""
        scroll = self._transcript.scroll_page_up if pages < 0 else self._transcript.scroll_page_down
        scroll(animate=False)

    async def action_latest(self) -> None:
        """Go to the end and follow it again."""
        await self._show_end()
        self._transcript.anchor()
        self._show_way_down()

    def _show_way_down(self) -> None:
        """Say how to come to the end, on the prompt's border, as long as the reader is not there."""
        below = BELOW if self._request is None else WRITTEN_BELOW
        way = "" if self._transcript.following else f"{below}: {self.keymap.label('latest')}"
        if self._prompt.border_subtitle != way:
            self._prompt.border_subtitle = way

    async def _show_end(self) -> None:
        """Show the chat's last messages, where they are not on the screen."""
        if not self._transcript.rest_below or self._history is None or self._chat is None:
            return
        chat = self._chat
        try:
            entries = await asyncio.to_thread(self._history.entries, chat, limit=MESSAGES_A_PAGE)
        except TakebackError as error:
            self._show_problem(error)
            return
        views = await self._views(self._settled(entries))
        if chat == self._chat:
            await self._transcript.show_end(views)

    def _settled(self, entries: list[Entry]) -> list[Entry]:
        """Without the reply that is being written here: it is on the screen, live."""
        return entries if self._request is None else [entry for entry in entries if entry.state != "writing"]

    # Pages

    @work(exclusive=True, group="page")
    async def on_transcript_reached_top(self) -> None:
        """Show older messages of this chat, if there are any."""
        chat, before = self._chat, self._transcript.oldest
        if self._history is None or chat is None or before is None:
            return
        try:
            older = await asyncio.to_thread(self._history.entries, chat, before=before, limit=MESSAGES_MORE)
        except TakebackError as error:
            await self._transcript.add(Notice(str(error)))
            self._show_state("Older messages cannot be read", "$text-error")  # the notice may be out of view
            return
        if older and (chat, before) == (
            self._chat,
            self._transcript.oldest,
        ):  # else it is another chat by now
            await self._transcript.prepend([MessageView.of_entry(entry) for entry in older])

    @work(exclusive=True, group="page")
    async def on_transcript_reached_bottom(self) -> None:
        """Show newer messages of this chat, where the end is not on the screen."""
        chat, last = self._chat, self._transcript.newest
        if self._history is None or chat is None or last is None:
            return
        try:
            newer = self._settled(await asyncio.to_thread(_after, self._history, chat, last))
        except TakebackError as error:
            self._show_problem(error)
            return
        views = await self._views(newer[:MESSAGES_MORE])
        if (chat, last) == (self._chat, self._transcript.newest):
            await self._transcript.extend(views, more_below=len(newer) > MESSAGES_MORE)

    # What others write

    @work(exclusive=True, group="elsewhere")
    async def _look_elsewhere(self) -> None:
        """Show how the replies here went on that another program writes."""
        views = [view for view in self.query(MessageView) if view.growing]
        if self._history is None or not views:
            return
        with suppress(TakebackError):  # the next time, then
            await asyncio.to_thread(self._history.mend)
            for view in views:
                assert view.entry is not None
                entry = await asyncio.to_thread(self._history.entry, view.entry)
                if entry is not None and view.is_mounted and view.differs(entry):
                    await self._transcript.replace(view, MessageView.of_entry(entry))
                    if entry.state != "writing":
                        self._look_at_chat()


def _after(history: History, chat: int, message: int) -> list[Entry]:
    """What was said in a chat after a message. Not for the screen's thread."""
    entries = history.entries(chat)
    places = [place for place, entry in enumerate(entries) if entry.id == message]
    return entries[places[0] + 1 :] if places else []
