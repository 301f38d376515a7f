"""The messages of a chat, one below the other, and the reply that is being written at their end."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from assistant.tui.forget import forget_drawn_text
from assistant.tui.widgets.draft import Draft
from assistant.tui.widgets.message import LiveReply, MessageView, Notice

MOST_MOUNTED = 100
"""More widgets than this make every layout slow; some then go, and come back from the store."""
KEPT_MOUNTED = 50

BOUNDARY = "↑ The model no longer sees what is above"

WELCOME = (
    ("A chat with a model that runs on this machine.\n", ""),
    ("When a reply goes wrong, the model takes it back and begins anew.\n\n", ""),
    ("Write below and press ", "$foreground-muted"),
    ("Enter", "bold"),
    (".", "$foreground-muted"),
)


class Transcript(VerticalScroll, can_focus=False):
    """Follows its end as long as the reader is there, and never moves a reader who is not."""

    class ReachedTop(Message):
        """The reader has come to the first message on the screen."""

    class ReachedBottom(Message):
        """The reader has come to the last message on the screen, which is not the last of the chat."""

    def __init__(self) -> None:
        super().__init__()
        self.rest_below = False
        """Whether the chat goes on below what is on the screen."""
        self._messages = Vertical(id="messages")
        self._live: LiveReply | None = None
        self._paging = False
        self._first_seen: int | None = None
        self._shown = 0
        """How many chats were shown so far."""

    def compose(self) -> ComposeResult:
        """One container, at least as tall as the view: the anchor would scroll shorter ones out of place."""
        yield self._messages

    def on_mount(self) -> None:
        """Begin at the end."""
        self.anchor()

    @property
    def following(self) -> bool:
        """Whether the view goes along with the end."""
        return self._anchored and not self._anchor_released

    @property
    def room(self) -> int:
        """The width for messages, in cells."""
        return self._messages.content_size.width

    @property
    def live(self) -> LiveReply | None:
        """The reply that is being written."""
        return self._live

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Say when the reader has come to the top, or to the bottom of what is on the screen."""
        super().watch_scroll_y(old_value, new_value)
        if new_value <= 0 < old_value and not self.following:
            self.post_message(self.ReachedTop())
        elif self.rest_below and old_value < new_value >= self.max_scroll_y:
            self.post_message(self.ReachedBottom())

    def release_anchor(self) -> None:
        """The reader scrolls: do not follow the end, unless that is where the reader stays."""
        super().release_anchor()
        # At the end already, nothing scrolls, and nothing else would notice that the reader is there.
        self.call_after_refresh(self._check_anchor)

    @property
    def oldest(self) -> int | None:
        """The id in the store of the first message on the screen; what is older was left out, or is gone."""
        return next(iter(self._entries()), None)

    @property
    def newest(self) -> int | None:
        """The id in the store of the last message on the screen."""
        return next(reversed(self._entries()), None)

    def _entries(self) -> list[int]:
        views = self._messages.query(MessageView).results()
        return [view.entry for view in views if view.entry is not None]

    async def show(self, views: Sequence[Widget], *, more_below: bool = False) -> None:
        """Show another chat, or the welcome where there is nothing to show, in one frame.

        Where `more_below`, these are not the chat's last messages, and the view does not go to their end.
        """
        old, self._live, self._first_seen = self._live, None, None
        self._shown += 1
        with self.app.batch_update():
            await self._messages.remove_children()
            await self._messages.mount_all(views or [Static(Content.assemble(*WELCOME), id="welcome")])
        if old is not None:  # it may be taken back yet, where nobody sees it
            old.forget()
            self.call_after_refresh(forget_drawn_text)
        self.rest_below = more_below
        if more_below:
            self.release_anchor()
        else:
            self.anchor()

    async def mark_boundary(self, first: int | None) -> None:
        """Draw a line above the first message that the model still sees; None: it sees all."""
        self._first_seen = first
        with self.app.batch_update():
            await self._messages.query(".boundary").remove()
            await self._draw_boundary()

    async def _draw_boundary(self) -> Notice | None:
        view = None if self._first_seen is None else self._view(self._first_seen)
        if view is None:
            return None
        line = Notice(BOUNDARY)
        line.add_class("boundary")
        await self._messages.mount(line, before=view)
        return line

    def go_to(self, entry: int) -> None:
        """Mark a message, and let the view stay where it is."""
        view = self._view(entry)
        if view is not None:
            self.release_anchor()
            self.screen.set_focus(view, scroll_visible=False)
            self.call_after_refresh(self.scroll_to_widget, view, animate=False, top=True)

    def last(self, role: str) -> MessageView | None:
        """The last message of a role, or None."""
        views = [view for view in self._messages.query(MessageView).results() if view.role == role]
        return views[-1] if views else None

    async def cut(self, entry: int) -> None:
        """Remove a message and all that follows it; all of them where it is not on the screen."""
        view = self._view(entry)
        children = self._messages.children
        self.screen.clear_selection()  # it would keep what is removed
        self.rest_below = False
        await self._messages.remove_children(children[0 if view is None else children.index(view) :])

    def _view(self, entry: int) -> MessageView | None:
        views = self._messages.query(MessageView).results()
        return next((view for view in views if view.entry == entry), None)

    async def prepend(self, views: Sequence[MessageView]) -> None:
        """Show older messages above, without moving what the reader looks at."""
        self._paging = True
        with self.app.batch_update():
            await self._messages.mount_all(views, before=0)
            added = sum(view.height_at(self.room) for view in views)
            if self._first_seen in [view.entry for view in views] and (line := await self._draw_boundary()):
                added += line.height_at(self.room)
            self._move(added)
            surplus = [view for view in self._messages.children[MOST_MOUNTED:] if view is not self._live]
            if surplus:
                await self._messages.remove_children(surplus)
                self._set_rest_below(True)
        self.call_after_refresh(self._paged)

    async def extend(self, views: Sequence[MessageView], *, more_below: bool) -> None:
        """Show newer messages below, without moving what the reader looks at."""
        self._paging = True
        with self.app.batch_update():
            await self._messages.mount_all(views, before=self._live)
            self._set_rest_below(more_below)
            children = self._messages.children
            if (surplus := len(children) - MOST_MOUNTED) > 0:
                first = _next_stored(children, surplus)
                removed = children[first].virtual_region.y - children[0].virtual_region.y
                await self._messages.remove_children(children[:first])
                self._move(-removed)
            if self._first_seen in [view.entry for view in views]:
                await self._messages.query(".boundary").remove()
                await self._draw_boundary()
        self.call_after_refresh(self._paged)

    async def show_end(self, views: Sequence[MessageView]) -> None:
        """Show the chat's last messages in the place of all others, above the reply that is being written."""
        with self.app.batch_update():
            await self._messages.remove_children([v for v in self._messages.children if v is not self._live])
            await self._messages.mount_all(views, before=self._live)
            await self._draw_boundary()
            self._set_rest_below(False)
        self.anchor()

    def _set_rest_below(self, rest_below: bool) -> None:
        self.rest_below = rest_below
        if self._live is not None:
            self._live.display = not rest_below  # it follows what is not here

    def _move(self, rows: int) -> None:
        """Be so many rows further down, in a layout that is still to come."""
        self.set_reactive(Widget.scroll_y, max(0, self.scroll_y + rows))
        self.set_reactive(Widget.scroll_target_y, self.scroll_y)

    def _paged(self) -> None:
        self._paging = False

    def _check_anchor(self) -> None:
        # While other messages come in, the place is that of the new layout and the end that of the old; and
        # where the chat goes on below, its end is not here.
        if not self._paging and not self.rest_below:
            super()._check_anchor()

    async def add(self, view: Widget) -> None:
        """Show a message or a notice at the end, but above a reply that is being written."""
        with self.app.batch_update():
            await self._messages.query("#welcome").remove()
            if self._live is None and self.following:
                for settled in self._messages.query(MessageView).results():
                    settled.reserve(0)
                await self._prune()
            await self._messages.mount(view, before=self._live)

    async def begin_reply(self) -> None:
        """A reply begins; the reader sees that."""
        live = LiveReply()
        shown = self._shown
        await self.add(live)
        if shown == self._shown:
            self._live = live
        else:  # another chat came in its place meanwhile
            await live.remove()

    async def take_back(self) -> None:
        """Replace the live reply by a line that says so, in one frame, without moving the view.

        The new widget takes as many lines as the draft did, or as the view has, so that what is above it
        stays where it is. The old one is dropped whole: nothing of it can be drawn again.
        """
        if (old := self._live) is None:
            return
        following = self.following
        reserve = min(max(old.size.height, old.reserved), self.size.height - old.styles.margin.height)
        self._live = LiveReply(shown_resets=old.shown_resets + 1, reserve=reserve)
        self._live.entry, self._live.place = old.entry, old.place
        self._live.display = old.display
        with self.app.batch_update():
            await self._messages.mount(self._live, after=old)
            await old.remove()
        old.forget()
        self.call_after_refresh(forget_drawn_text)
        if not following:
            # A shorter chat may have put the reader at its end, which is not where the reader went.
            self.call_after_refresh(super().release_anchor)

    async def keep_draft(self, text: str) -> None:
        """Put a draft that was taken back above the live reply, folded up."""
        if self._live is not None:
            await self._messages.mount(Draft(text), before=self._live)

    async def replace(self, old: MessageView, new: MessageView) -> None:
        """Show a message that another program writes as it is now, in one frame, without moving the view."""
        focused = old.has_focus
        if not self.following:
            new.reserve(min(old.size.height, self.size.height - old.styles.margin.height))
        with self.app.batch_update():
            await self._messages.mount(new, after=old)
            await old.remove()
            if focused:
                self.screen.set_focus(new, scroll_visible=False)
        old.forget()
        self.call_after_refresh(forget_drawn_text)  # it may have been taken back there

    async def settle(self, *views: MessageView | Notice) -> None:
        """Put the finished reply, or what is to be said of it, in the place of the live one, in one frame."""
        if (live := self._live) is None:
            return
        for view in views:
            if isinstance(view, MessageView):
                view.reserve(live.reserved)
        with self.app.batch_update():
            if not self.rest_below:  # else it will come from the store, with what is above it
                await self._messages.mount_all(views, after=live)
            await live.remove()
        live.forget()
        self._live = None
        self.call_after_refresh(forget_drawn_text)  # of a reply that was withheld in the end

    async def _prune(self) -> None:
        """Remove the oldest, down to a message that the store knows, so that it can say what came before."""
        children = self._messages.children
        if len(children) > MOST_MOUNTED and self.following:
            first = _next_stored(children, len(children) - KEPT_MOUNTED)
            await self._messages.remove_children(children[:first])


def _next_stored(children: Sequence[Widget], place: int) -> int:
    """The place of the first message from `place` on that the store knows; 0 where there is none."""
    places = range(place, len(children))
    return next((number for number in places if getattr(children[number], "entry", None) is not None), 0)
