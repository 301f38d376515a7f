"""A message on the screen: one widget, whatever its length. A settled one stays, a live one grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.selection import Selection
from textual.visual import Visual
from textual.widgets import Static

from assistant.conversation.records import Entry
from assistant.tui.document import Block, Document, drawn_before
from assistant.tui.keys import bind
from assistant.tui.markdown import ADDRESS, TAB, GrowingMarkdown, render
from convert.untrusted import clean, clean_line

YOU, MODEL = "You", "Assistant"
FRAME = 5
"""Columns beside a message's text, in the stylesheet."""
ONLY = (1, 1)
"""The place of a message that was said once: the first version of one."""

REMARKS = {
    "cancelled": "Stopped",
    "length": "Stopped at the length limit",
    "context_full": "The context is full. /new begins a new chat",
    "killed": "Unfinished: Takeback ended while this was written",
    "error": "Unfinished",
    "": "Still being written, in another Takeback",
}
"""What is said below a reply that did not simply end, by its reason."""


class MessageView(Static, can_focus=True):
    """A settled message. It gets the focus by keys alone: a click begins to select its text."""

    FOCUS_ON_CLICK: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("edit", "screen.edit"),
        bind("again", "screen.regenerate"),
        bind("continue", "screen.continue_reply"),
        bind("copy", "screen.copy_message"),
        bind("code", "screen.copy_code"),
        bind("links", "screen.links"),
        bind("older", "screen.older_version"),
        bind("newer", "screen.newer_version"),
        Binding("up", "app.focus_previous", "Message before", show=False),
        Binding("down", "app.focus_next", "Next message", show=False),
    ]

    class AddressClicked(Message):
        """The user clicked on an address in a message."""

        def __init__(self, address: str) -> None:
            super().__init__()
            self.address = address

    def __init__(
        self,
        role: str,
        name: str,
        body: Document,
        *,
        notice: str = "",
        remark: str = "",
        entry: int | None = None,
        place: tuple[int, int] = ONLY,
    ) -> None:
        """`role` is `user` or `assistant`; `notice` stands above the text, `remark` below it.

        `entry` is the message's id in the store, None where the screen does not know it; `place` says which
        version of how many it is.
        """
        self.role = role
        self.entry = entry
        self.growing = False
        """Whether another program is writing it."""
        self.versions = place[1]
        self._text = ""
        self._parts = (
            [_label(name, place), *line(notice, "$text-secondary")],
            body,
            line(remark, "$text-warning", gap=True),
        )
        self._reserved = 0
        super().__init__(self._document(0), markup=False, classes=role)
        self.auto_links = False

    @classmethod
    def of_user(cls, text: str, entry: int, place: tuple[int, int] = ONLY) -> MessageView:
        """What the user said. It is shown as it was typed."""
        return cls("user", YOU, Document([Block(Content(clean_text(text)))]), entry=entry, place=place)

    @classmethod
    def of_entry(cls, entry: Entry) -> MessageView:
        """A message as it is stored. A reply that no reason is known of is being written elsewhere."""
        place = (entry.version, entry.versions)
        if entry.role == "user":
            return cls.of_user(entry.text, entry.id, place)
        return cls.of_model(
            entry.text,
            reason=entry.reason,
            resets=entry.resets,
            shown_resets=entry.shown_resets,
            entry=entry.id,
            place=place,
        )

    @classmethod
    def of_model(
        cls,
        text: str,
        *,
        reason: str,
        resets: int,
        shown_resets: int,
        entry: int | None = None,
        place: tuple[int, int] = ONLY,
        drawn: Sequence[Block] = (),
    ) -> MessageView:
        """A reply that is over, for whatever reason; what looks like `drawn` blocks need not be drawn again."""
        body = Document(drawn_before(render(text).blocks, drawn))
        if reason == "reset_limit":
            body = Document([Block(Content(no_answer(resets)))])
        remark = REMARKS.get(reason, "")
        notice = taken_back(shown_resets)
        view = cls("assistant", MODEL, body, notice=notice, remark=remark, entry=entry, place=place)
        view.growing = not reason
        view._text = "" if reason else text
        return view

    def differs(self, entry: Entry) -> bool:
        """Whether a growing reply is no longer as it was when this was made."""
        return (entry.text, not entry.reason) != (self._text, self.growing)

    def forget(self) -> None:
        """As of a live reply: for one that another program may have taken back."""
        self._text, self._parts = "", ([], Document([]), [])
        _forget(self)

    @property
    def allow_select(self) -> bool:
        """Not what another program is writing: it may yet be taken back there."""
        return super().allow_select and not self.growing

    @classmethod
    def of_entries(cls, entries: Sequence[Entry], width: int) -> list[MessageView]:
        """Messages as they are stored, measured for a transcript of this width in cells.

        It takes long. Not for the screen's thread.
        """
        views = [cls.of_entry(entry) for entry in entries]
        for view in views:
            view._document(0).get_height({}, max(1, width - FRAME))
        return views

    def reserve(self, lines: int) -> None:
        """Take at least so many lines, so that the screen stays where it is."""
        if lines != self._reserved:
            self._reserved = lines
            self.update(self._document(lines))

    def height_at(self, width: int) -> int:
        """How many lines it takes, its margin included, in a transcript of this width in cells."""
        return height_at(self, self._document(0), width)

    def on_click(self, event: events.Click) -> None:
        """Find the address that was clicked on; a click that ends a selection is none."""
        address = event.style.meta.get(ADDRESS)
        if address and not self.screen.selections:
            event.stop()
            self.post_message(self.AddressClicked(address))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, without what stands around it.

        Asked for where a whole chat is selected, too, so also of what cannot be selected itself.
        """
        if not self.allow_select:
            return None
        plain = self._parts[1].plain
        try:
            return selection.extract(plain), "\n"
        except IndexError:  # it begins below the text
            return None

    def _document(self, reserve: int) -> Document:
        head, body, foot = self._parts
        return Document([*head, *body.blocks, *foot], reserve)


class LiveReply(Static):
    """The reply that is being written. Its text cannot be selected: it may yet be taken back."""

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, *, shown_resets: int = 0, reserve: int = 0) -> None:
        """`shown_resets` drafts of this reply were seen and taken back; it takes at least `reserve` lines.

        `entry` is the reply's id in the store, once it has one, and `place` its version.
        """
        self.shown_resets = shown_resets
        self.reserved = reserve
        self.entry: int | None = None
        self.place = ONLY
        self._said: list[str] = []
        self._text = GrowingMarkdown()
        super().__init__(self._document(), markup=False, classes="assistant")
        self.auto_links = False

    @property
    def said(self) -> str:
        """The text so far."""
        return "".join(self._said)

    @property
    def drawn(self) -> Sequence[Block]:
        """The blocks of its text."""
        return self._text.document().blocks

    def append(self, text: str) -> None:
        """Take more text; it is not seen before `redraw`."""
        self._said.append(text)
        self._text.append(text)

    def forget(self) -> None:
        """Hold nothing of the text any more, not even what was drawn of it.

        For a widget that has been removed: Textual's lists may keep it for a while. Before, it would be
        drawn empty.
        """
        self._said.clear()
        self._text = GrowingMarkdown()
        _forget(self)

    def redraw(self) -> None:
        """Show all the text so far."""
        self.update(self._document())

    def _document(self) -> Document:
        head = [_label(MODEL), *line(taken_back(self.shown_resets), "$text-secondary")]
        blocks = self._text.document().blocks if self._said else line("…", "$foreground-muted")
        return Document([*head, *blocks], self.reserved)


class Notice(Static):
    """A line about the chat, said by the program."""

    def __init__(self, text: str) -> None:
        self._text = Content(clean_line(text))
        super().__init__(self._text, markup=False, classes="notice")

    def height_at(self, width: int) -> int:
        """As a message's."""
        return height_at(self, self._text, width)


def _forget(view: Static) -> None:
    view.update(Document([]))
    view._render_cache = view._render_cache._replace(lines=[])


def height_at(view: Static, visual: Visual, width: int) -> int:
    """How many lines a view takes, its margin included, in a transcript of this width in cells."""
    inside = width - view.styles.gutter.width
    return visual.get_height({}, inside) + view.styles.gutter.height + view.styles.margin.height


def taken_back(drafts: int) -> str:
    """The line in the place of drafts that were seen and are gone."""
    return "" if drafts == 0 else "↺ Draft taken back" if drafts == 1 else f"↺ {drafts} drafts taken back"


def no_answer(drafts: int) -> str:
    """What stands in the place of a reply that was taken back too often."""
    return f"The model took back {drafts} drafts and has no answer to this. Another wording may help."


def clean_text(text: str) -> str:
    """The user's own text, fit for the screen: it may have been pasted, or come from an older file."""
    return clean(text.replace("\r\n", "\n")).expandtabs(TAB)


def _label(name: str, place: tuple[int, int] = ONLY) -> Block:
    style = "bold $text-primary" if name == YOU else "bold"
    version = f"  version {place[0]} of {place[1]}" if place[1] > 1 else ""
    return Block(Content.assemble((name, style), (version, "$foreground-muted")), said=False)


def line(text: str, style: str, *, gap: bool = False) -> list[Block]:
    """A line about a message, which is no part of it; none where the text is empty."""
    return [Block(Content(text).stylize(style), said=False, gap=gap)] if text else []
