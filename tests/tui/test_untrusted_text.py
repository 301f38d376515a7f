"""No text of a model, a file, a hub or a name sends anything to the terminal, wherever it is shown, nor is it markup.

Places that show many texts at once get all of them, on a tall screen; those that show one at a time get every
twentieth, as each takes a frame.
"""

import os

import pytest
from textual import events

from assistant.conversation.attachments import Mention
from assistant.conversation.history import History
from assistant.engine.events import Error
from assistant.tui import chats, logbook, pages
from assistant.tui.completion import Suggestion
from assistant.tui.log_page import LogPage
from assistant.tui.models import ModelsScreen
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.ask_link import AskLink
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.page import Page
from assistant.tui.widgets.suggestions import Suggestions
from convert.errors import TakebackError
from tests.tui.conftest import state
from tests.tui.hostile import escaped, recorded, texts, without_surrogates
from tests.tui.scripted import ScriptedModel, text, until

COUNTS = [60, pytest.param(2_000, marks=pytest.mark.slow)]
ONE_OF = 20


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    monkeypatch.setattr("assistant.tui.app.end_on_signals", lambda *arguments: None)
    return tmp_path


def parts(whole: list[str], size: int) -> list[list[str]]:
    return [whole[begin : begin + size] for begin in range(0, len(whole), size)]


class Screen:
    """An app in a terminal that is recorded."""

    def __init__(self, app, size: tuple[int, int]) -> None:
        self.app, self.size = app, size
        self.written = recorded(app)

    async def __aenter__(self):
        self._running = self.app.run_test(headless=False, size=self.size)
        self.pilot = await self._running.__aenter__()
        await until(self.pilot, lambda: state(self.app) == "Ready")
        return self

    async def __aexit__(self, *error) -> None:
        await self._running.__aexit__(*error)

    async def look(self, sign: str = "") -> None:
        """Wait until a sign was written to the terminal, and look at all that was."""
        await until(self.pilot, lambda: any(sign in written for written in self.written))
        found = escaped("".join(self.written))
        assert found is None, found
        assert self.app.is_running
        self.written.clear()
        for strip in self.app.screen._compositor.render_strips():
            for segment in strip:
                assert segment.style is None or "@click" not in (segment.style.meta or {}), segment


def name(said: str) -> str:
    """The beginning of a text, by which it is found."""
    return said[: said.index("t", 1) + 1]


@pytest.mark.parametrize("count", COUNTS)
async def test_messages_and_notices(start, count: int) -> None:
    async with Screen(start(ScriptedModel()), (120, 2_500)) as screen:
        for some in parts(texts(count), 200):
            views = []
            for said in parts(some, 5):
                views.append(MessageView.of_user("\n".join(said), 1))
                views.append(
                    MessageView.of_model("\n\n".join(said), reason="length", resets=0, shown_resets=0)
                )
                views.append(Notice("".join(said)))
            await screen.app.chat._transcript.show(views)
            await screen.look(name(some[-1]))


@pytest.mark.parametrize("count", COUNTS)
async def test_replies_as_they_are_written_and_what_is_told_of_them(start, count: int) -> None:
    some = parts(texts(count), 100)
    model = ScriptedModel(*([*map(text, part), Error(part[0])] for part in some), note="".join(texts(9)))
    async with Screen(start(model), (120, 500)) as screen:
        for part in some:
            screen.app.chat._prompt.text = "go on"
            await screen.pilot.press("enter")
            await until(screen.pilot, lambda: state(screen.app) == "Unfinished")
            await screen.look(name(part[0]))
            await screen.app.chat.action_new_chat()
            await until(screen.pilot, lambda: state(screen.app) == "New chat")


@pytest.mark.parametrize("count", COUNTS)
async def test_titles_and_search_hits(start, database, count: int, monkeypatch) -> None:
    monkeypatch.setattr(chats, "MOST_CHATS", 400)
    search = History.search
    monkeypatch.setattr(History, "search", lambda self, words: search(self, words, 400))
    with History(database) as history:
        for said in texts(count):
            chat, _ = history.new_chat(f"apple {said}")
            with history._change():
                sql = "UPDATE chats SET title = ? WHERE id = ?"
                history._database.execute(sql, (without_surrogates(said), chat))
        async with Screen(start(ScriptedModel()), (160, 1_000)) as screen:
            shown = 0
            while listed := [chat.id for chat in history.chats(400)]:
                for words in ("", "apple"):
                    screen.app.chat.action_chats(words)
                    wanted = len(listed)
                    await until(
                        screen.pilot,
                        lambda: len(getattr(screen.app.screen, "_rows", [])) == wanted,  # noqa: B023
                    )
                    await screen.look()
                    await screen.pilot.press("escape")
                    await until(screen.pilot, lambda: screen.app.screen is screen.app.chat)
                shown += len(listed)
                with history._change():
                    history._database.executemany(
                        "UPDATE chats SET deleted = 1 WHERE id = ?", [(number,) for number in listed]
                    )
    assert shown == count


@pytest.mark.parametrize("count", COUNTS)
async def test_models_and_suggestions(start, home, count: int) -> None:
    folder = home / "models"
    folder.mkdir()
    for said in texts(count)[::ONE_OF]:
        encoded = without_surrogates(said).replace("/", "∕").replace("\0", "").encode()[:200]
        (folder / os.fsdecode(encoded + b"\x9b\xff.gguf")).touch()
    app = start(ScriptedModel(), models=("default", lambda name: lambda progress: ScriptedModel()))
    async with Screen(app, (160, 1_200)) as screen:
        app.chat.action_model()
        wanted = count // ONE_OF
        await until(
            screen.pilot, lambda: isinstance(app.screen, ModelsScreen) and len(app.screen._rows) > wanted
        )
        await screen.look("cannot be used")
        await screen.pilot.press("escape")
        await until(screen.pilot, lambda: app.screen is app.chat)
        for some in parts(texts(count), 6):  # so many there is room for
            app.chat.query_one(Suggestions).offer([Suggestion(said, 0, said) for said in some])
            app.chat._show_attached([Mention(said, folder, 9) for said in some])
            await screen.look(name(some[0]))


@pytest.mark.parametrize("count", COUNTS)
async def test_pages_of_text(start, count: int) -> None:
    some = texts(count)
    app = start(ScriptedModel())
    async with Screen(app, (120, 1_500)) as screen:
        for part in parts(some, 400):
            logbook._KEPT.lines.clear()
            for said in part:
                logbook.LOG.warning("%s", said)
            app.push_screen(
                LogPage(app.chat._database.with_name(without_surrogates(part[0]).replace("/", "")))
            )
            await screen.look(name(part[-1]))
            await screen.pilot.press("escape")
            document = pages.prompt(_sight(), [(said, bool(at % 2)) for at, said in enumerate(part)], 4096)
            app.push_screen(Page(*document))
            await screen.look(name(part[-1]))
            await screen.pilot.press("escape")


def _sight():
    from assistant.conversation.sight import Sight

    return Sight([], 0, None, 9)


@pytest.mark.parametrize("count", COUNTS)
async def test_one_at_a_time(start, count: int) -> None:
    app = start(ScriptedModel())
    async with Screen(app, (400, 40)) as screen:
        for said in texts(count)[::ONE_OF]:
            app.chat._model_name = said
            app.chat._show_model()
            app.chat._show_problem(TakebackError(said))
            await screen.look(name(said))
            app.post_message(events.Paste(said))
            await until(screen.pilot, lambda: name(said) in app.chat._prompt.text)  # noqa: B023
            await screen.look()
            app.chat._prompt.clear()
            app.push_screen(AskLine("Title", said))
            await screen.look(name(said))
            await screen.pilot.press("escape")
            app.push_screen(AskLink(said))
            await screen.look(name(said))
            await screen.pilot.press("escape")
            app.chat.say_copied(said, said)
