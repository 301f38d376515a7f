"""The part of the chat's screen that takes things out of messages: their text, blocks of code, addresses."""

from __future__ import annotations

import asyncio

from textual import work
from textual.content import Content

from assistant.conversation.records import Entry
from assistant.tui.branching import BranchingScreen
from assistant.tui.excerpts import Code, Link, code_blocks, links
from assistant.tui.links import open_link
from assistant.tui.widgets.ask_link import AskLink, Wish
from assistant.tui.widgets.choose import Choose
from assistant.tui.widgets.message import MessageView
from convert.errors import TakebackError
from convert.untrusted import clean


class SharingScreen(BranchingScreen):
    """One chat, its branches, and what can be taken out of it.

    What is asked for is for the message with the focus, or else for the last reply. A reply that is being
    written is left alone, here or in another Takeback: it may yet be taken back.
    """

    async def action_copy_message(self) -> None:
        """Copy a whole message as it was written, its Markdown included."""
        if (entry := await self._meant()) is not None:
            self.app.copy_to_clipboard(clean(entry.text))

    async def action_copy_code(self) -> None:
        """Copy a block of code; where there are several, the user chooses."""
        if (entry := await self._meant()) is None:
            return
        blocks = code_blocks(entry.text)

        def copy(place: int | None) -> None:
            if place is not None:
                self.app.copy_to_clipboard(blocks[place].text)

        if len(blocks) > 1:
            self.app.push_screen(Choose("Which code?", [_code_line(block) for block in blocks]), copy)
        elif blocks:
            copy(0)
        else:
            self._show_state("There is no block of code in this message")

    async def action_links(self) -> None:
        """Open an address in a message, once the user has seen it and said yes."""
        if (entry := await self._meant()) is None:
            return
        found = links(entry.text)

        def ask(place: int | None) -> None:
            if place is not None:
                self.ask_about(found[place].address)

        if len(found) > 1:
            self.app.push_screen(Choose("Which address?", [_link_line(link) for link in found]), ask)
        elif found:
            ask(0)
        else:
            self._show_state("There is no address in this message")

    def ask_about(self, address: str) -> None:
        """Ask what to do with an address."""

        def do(wish: Wish | None) -> None:
            if wish == "copy":
                self.app.copy_to_clipboard(address)
            elif wish == "open":
                self._hand_over(address)

        self.app.push_screen(AskLink(address), do)

    def on_message_view_address_clicked(self, message: MessageView.AddressClicked) -> None:
        """A click only asks."""
        self.ask_about(message.address)

    @work
    async def _hand_over(self, address: str) -> None:
        try:
            await asyncio.to_thread(open_link, address)
        except TakebackError as error:
            self._show_problem(error)
        else:
            self._show_state("Handed to your browser")

    def say_copied(self, text: str, tool: str | None) -> None:
        """Say how a text was copied: with which tool, or by asking the terminal, which may not obey."""
        size = f"{len(text):,} character{'s' * (len(text) != 1)}"
        way = f"Copied with {tool}" if tool else "Sent to the terminal to copy (OSC 52)"
        self._show_state(f"{way}: {size}")

    async def _meant(self) -> Entry | None:
        """The message to take something out of, as it is stored; None, with a word on why, where there is none."""
        focused = self.focused
        if not isinstance(focused, MessageView) and self._busy():
            return None
        view = focused if isinstance(focused, MessageView) else self._transcript.last("assistant")
        entry = None
        if self._history is not None and view is not None and view.entry is not None:
            try:
                entry = await asyncio.to_thread(self._history.entry, view.entry)
            except TakebackError as error:
                self._show_problem(error)
                return None
        if entry is not None and entry.state == "writing":
            self._show_state("Not yet: this reply is being written", "$text-warning")
        elif entry is None or not entry.text:
            self._show_state("There is no text here yet")
        else:
            return entry
        return None


def _code_line(code: Code) -> Content:
    lines = code.text.rstrip("\n").split("\n")
    size = f"{len(lines)} line{'s' * (len(lines) != 1)}"
    first = next(line for line in lines if line.strip()).strip().expandtabs(1)
    return Content.assemble((first, "bold"), f"  {' '.join(filter(None, (code.language, size)))}")


def _link_line(link: Link) -> Content:
    if link.words in ("", link.address):
        return Content(link.address)
    return Content.assemble((link.words, "bold"), f"  {link.address}")
