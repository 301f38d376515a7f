"""A chat's model, its options, presets and the settings of all chats, by the keys and by the commands."""

import threading

import pytest
from textual.widgets import Input, OptionList

from assistant.conversation.chosen import of_text
from assistant.conversation.history import History
from assistant.conversation.presets import presets
from assistant.engine.options import GenerateOptions
from assistant.models import library
from assistant.settings import load_settings
from assistant.tui.app import ChatApp
from assistant.tui.chat_form import ChatForm, PresetsScreen
from assistant.tui.form import Form
from assistant.tui.models import ModelsScreen
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.confirm import Confirm
from assistant.tui.widgets.field import Field, Lines, Pick
from assistant.tui.widgets.lines import Header
from assistant.tui.widgets.message import Notice
from convert.errors import TakebackError
from tests.models.test_pull import ordinary, taking_back  # noqa: F401 (fixtures)
from tests.tui.conftest import say
from tests.tui.scripted import ScriptedModel, done, text, until


class Shelf:
    """Models by name, each scripted, and how often each was loaded."""

    def __init__(self, **models: ScriptedModel) -> None:
        self.models = models
        self.loaded: list[str] = []
        for name, model in models.items():
            model.info.name = name

    def load(self, name: str):
        def load(progress) -> ScriptedModel:
            self.loaded.append(name)
            if name not in self.models:
                raise TakebackError(f"no model named '{name}'")
            return self.models[name]

        return load


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def open_chat(start, home):
    def make(shelf: Shelf, **options) -> ChatApp:
        return start(shelf.load("default"), models=("default", shelf.load), **options)

    return make


@pytest.fixture
def put(home, taking_back, ordinary):  # noqa: F811
    def write(name: str, *, takes_back: bool = True):
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(taking_back if takes_back else ordinary)
        return path

    return write


def state(app) -> str:
    return str(app.chat.query_one("#state").render())


def header(app) -> str:
    line = app.chat.query_one(Header)
    return "  ".join(str(line.query_one(name).render()) for name in ("#model", "#takes-back"))


def said(app) -> str:
    return str(app.screen.query_one("#said").render())


def listed(app) -> list[str]:
    options = app.screen.query_one(OptionList)
    return [" ".join(str(options.get_option_at_index(n).prompt).split()) for n in range(options.option_count)]


def notices(app) -> list[str]:
    return [notice._text.plain for notice in app.chat.query(Notice)]


def field(app, name: str) -> Field:
    return next(found for found in app.screen.query(Field) if found.setting.name == name)


def replies(*words: str) -> list:
    return [[text(word), done(word)] for word in words]


async def test_a_model_is_chosen_in_the_list_and_is_the_chats_from_then_on(open_chat, put, database) -> None:
    put("models/pear.gguf", takes_back=False)
    put("models/plum [b].gguf")
    shelf = Shelf(
        default=ScriptedModel(*replies("one")), pear=ScriptedModel(*replies("two"), takes_back=False)
    )
    app = open_chat(shelf)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "first")
        await until(pilot, lambda: "tokens/s" in state(app))
        await say(pilot, "/model")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and "plum" in listed(app)[-1])
        await until(pilot, lambda: "takes back: yes" in listed(app)[2])
        assert listed(app)[0].startswith("• default")
        assert " MB 512 tokens takes back: no" in listed(app)[1]
        await pilot.press(*"PEA", "enter")
        await until(pilot, lambda: state(app) == "pear answers in this chat now")
        assert "pear  takes back: no" in header(app)
        assert any("cannot take back" in notice for notice in notices(app))
        assert shelf.models["default"].closed
        await say(pilot, "second")
        await until(pilot, lambda: "tokens/s" in state(app))
        assert [message.content for message in shelf.models["pear"].asked[0]] == ["first", "one", "second"]
    assert app.chat.end()
    with History(database) as history:
        assert of_text(history.chat(1).chosen) == {"model": "pear"}
    shelf.loaded.clear()
    again = open_chat(shelf)
    async with again.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "pear  takes back: no" in header(again))
        assert shelf.loaded == ["pear"]
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "default  takes back: yes" in header(again))


async def test_no_model_is_changed_under_a_reply(open_chat) -> None:
    go_on = threading.Event()
    shelf = Shelf(default=ScriptedModel([text("one"), go_on, done("one")]), pear=ScriptedModel())
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "first")
        await until(pilot, lambda: state(app) == "Writing…")
        await say(pilot, "/model pear")
        await until(pilot, lambda: state(app).startswith("Not yet: wait for this reply"))
        assert app.screen is app.chat
        assert shelf.loaded == ["default"]
        go_on.set()
        await until(pilot, lambda: "tokens/s" in state(app))
        await say(pilot, "/model pear")
        await until(pilot, lambda: shelf.loaded == ["default", "pear"] and "pear" in header(app))


async def test_a_model_that_cannot_be_loaded_leaves_the_one_before(open_chat, database) -> None:
    shelf = Shelf(default=ScriptedModel(*replies("one", "two")))
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "first")
        await until(pilot, lambda: "tokens/s" in state(app))
        await say(pilot, "/model [b]gone")
        await until(pilot, lambda: notices(app) == ["no model named '[b]gone'"] and state(app) == "Ready")
        assert "default" in header(app)
        await say(pilot, "second")
        await until(pilot, lambda: "tokens/s" in state(app))
    with History(database) as history:
        assert history.chat(1).chosen is None


async def test_a_chat_whose_model_is_gone_says_so_and_takes_another(open_chat, database) -> None:
    with History(database) as history:
        history.new_chat("hello", None, '{"model": "gone"}')
    shelf = Shelf(default=ScriptedModel(*replies("one")))
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: notices(app) == ["no model named 'gone'"])
        await say(pilot, "/again")
        await until(pilot, lambda: state(app) == "No reply")
        await say(pilot, "/model default")
        await until(pilot, lambda: state(app) == "default answers in this chat now")
        await say(pilot, "/again")
        await until(pilot, lambda: "tokens/s" in state(app))


async def test_each_chat_has_its_own_model(open_chat, database) -> None:
    with History(database) as history:
        history.new_chat("about pears", None, '{"model": "pear"}')
        history.new_chat("about oranges")
    shelf = Shelf(default=ScriptedModel(), pear=ScriptedModel(*replies("one")))
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "default  takes back" in header(app))
        await say(pilot, "/chats")
        await pilot.pause()
        await until(pilot, lambda: app.screen is not app.chat and len(listed(app)) == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "pear  takes back" in header(app))
        await say(pilot, "/again")
        await until(pilot, lambda: "tokens/s" in state(app))
        assert shelf.loaded == ["default", "pear"]


async def test_a_file_is_added_and_removed_with_a_question(open_chat, put, home) -> None:
    put("elsewhere/plum.gguf")
    app = open_chat(Shelf(default=ScriptedModel()))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/model")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and listed(app))
        for file, answer in (("nothing.gguf", "nothing.gguf"), ("elsewhere/plum.gguf", "Added: plum")):
            await pilot.press("f2")
            await until(pilot, lambda: isinstance(app.screen, AskLine))
            app.screen.query_one(Input).value = f"'{home / file}'"
            await pilot.press("enter")
            await until(
                pilot, lambda answer=answer: isinstance(app.screen, ModelsScreen) and answer in said(app)
            )
        await until(pilot, lambda: "takes back: yes" in listed(app)[1])
        for key, left in (("escape", ["plum"]), ("enter", ["plum"]), ("y", [])):
            await pilot.press("ctrl+d")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
            await until(pilot, lambda left=left: [model.name for model in library.models()] == left)
        await until(pilot, lambda: "Removed: plum" in said(app))
        await pilot.press("ctrl+d")
        await until(pilot, lambda: "default is used here" in said(app))


async def test_the_options_of_a_chat_are_checked_kept_and_used(open_chat, database) -> None:
    shelf = Shelf(default=ScriptedModel(*replies("one", "two")))
    app = open_chat(shelf, system="Be brief", options=GenerateOptions(seed=3))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/options")
        await until(pilot, lambda: isinstance(app.screen, ChatForm))
        assert isinstance(app.focused, Lines)
        assert app.focused.text == "Be brief"
        await pilot.press("tab", *"2x")
        await until(pilot, lambda: "temperature is '2x'; it must be a number from 0 to 100" in said(app))
        await pilot.press("tab", "ctrl+s")
        await until(pilot, lambda: said(app).startswith("Not kept: temperature"))
        assert app.focused.parent is field(app, "temperature")
        await pilot.press("2", "enter")  # what is there is marked, as with Tab
        assert app.focused.parent is field(app, "top_p")
        field(app, "system").fill("Be\nkind")
        field(app, "after_reset").go_here()
        await pilot.press("left")
        assert isinstance(app.focused, Pick)
        assert app.focused.chosen == "off"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: state(app).startswith("Kept for this chat"))
        assert "takes back: off here" in header(app)
        await say(pilot, "first")
        await until(pilot, lambda: "tokens/s" in state(app))
        model = shelf.models["default"]
        assert model.asked[0][0].content == "Be\nkind"
        assert model.options[0] == GenerateOptions(seed=3, temperature=2.0, after_reset="off")
        await say(pilot, "/options")
        await until(pilot, lambda: isinstance(app.screen, ChatForm))
        assert field(app, "temperature").text == "2.0"
        field(app, "temperature").fill(None)
        field(app, "max_resets").fill(0)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: state(app).startswith("Kept for this chat"))
        await say(pilot, "second")
        await until(pilot, lambda: len(model.options) == 2 and "tokens/s" in state(app))
        assert model.options[1] == GenerateOptions(seed=3, after_reset="off", max_resets=0)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "takes back: yes" in header(app))
    with History(database) as history:
        assert of_text(history.chat(1).chosen) == {"after_reset": "off", "max_resets": 0}
        assert history.chat(1).system == "Be\nkind"


async def test_presets_are_saved_chosen_and_deleted(open_chat, home) -> None:
    app = open_chat(Shelf(default=ScriptedModel(*replies("one"))))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/options")
        await until(pilot, lambda: isinstance(app.screen, ChatForm))
        field(app, "temperature").fill(0.25)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, AskLine))
        await pilot.press(*"cold", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatForm) and "Saved as cold" in said(app))
        assert presets() == {"cold": {"temperature": 0.25}}
        field(app, "temperature").fill(1.5)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, PresetsScreen) and listed(app))
        assert listed(app) == ["cold temperature 0.25"]
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(app.screen, ChatForm) and field(app, "temperature").text == "0.25"
        )
        await pilot.press("escape")
        await say(pilot, "/preset warm")
        await until(pilot, lambda: state(app) == "There is no preset warm; there is cold")
        await say(pilot, "/preset cold")
        await until(pilot, lambda: state(app).startswith("cold: it counts"))
        assert app.chat._choices == {"temperature": 0.25}
        await say(pilot, "/preset")
        await until(pilot, lambda: isinstance(app.screen, PresetsScreen) and listed(app))
        await pilot.press("ctrl+d")
        await until(pilot, lambda: "Deleted: cold" in said(app))
        assert presets() == {}
        assert sorted(path.name for path in home.iterdir() if "preset" in path.name) == [
            ".presets.json.lock",
            "presets.json",
        ]


async def test_the_settings_are_written_and_count(open_chat, home, monkeypatch) -> None:
    config = home / "config.toml"
    config.write_text("# mine\ntemperature = 0.5 # warm\n[keys]\nnew_chat = 'ctrl+t'\n")
    monkeypatch.setenv("TAKEBACK_XTC", "0.1")
    shelf = Shelf(default=ScriptedModel(*replies("one")))
    app = open_chat(
        shelf, options=GenerateOptions(show_discarded=True), read_settings=lambda: load_settings({"seed": 3})
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/settings")
        await until(pilot, lambda: type(app.screen) is Form)
        field(app, "seed").go_here()
        await until(pilot, lambda: "--seed was given, and goes before this" in said(app))
        field(app, "xtc").go_here()
        await until(pilot, lambda: "TAKEBACK_XTC is set, and goes before this" in said(app))
        field(app, "temperature").fill(0.25)
        field(app, "ctx").fill(2048)
        field(app, "theme").fill("light")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: state(app) == "Saved; ctx: from the next start on")
        assert app.theme == "light"
        await say(pilot, "first")
        await until(pilot, lambda: "tokens/s" in state(app))
        wanted = GenerateOptions(temperature=0.25, seed=3, xtc=0.1, show_discarded=True)
        assert shelf.models["default"].options == [wanted]
    assert config.read_text() == (
        "# mine\ntemperature = 0.25 # warm\nctx = 2048\ntheme = \"light\"\n[keys]\nnew_chat = 'ctrl+t'\n"
    )


async def test_a_config_file_with_a_mistake_is_not_written_over(open_chat, home) -> None:
    (home / "config.toml").write_text("temperature = 500\n")
    app = open_chat(Shelf(default=ScriptedModel()), read_settings=lambda: load_settings({}))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/settings")
        await until(pilot, lambda: "temperature is 500.0; it must be from 0 to 100" in state(app))
        assert app.screen is app.chat


async def test_nothing_is_sent_while_another_model_is_being_loaded(open_chat, database) -> None:
    go_on = threading.Event()
    shelf = Shelf(default=ScriptedModel(), pear=ScriptedModel(*replies("one")))
    load = shelf.load

    def slow(name: str):
        def wait(progress) -> ScriptedModel:
            go_on.wait(120)
            return load(name)(progress)

        return load(name) if name == "default" else wait

    shelf.load = slow
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/model pear")
        await say(pilot, "first")
        await until(pilot, lambda: state(app) == "Not yet: pear is being loaded")
        assert app.chat._prompt.text == "first"
        go_on.set()
        await until(pilot, lambda: state(app) == "pear answers in this chat now")
        await pilot.press("enter")
        await until(pilot, lambda: "tokens/s" in state(app))
    with History(database) as history:
        assert of_text(history.chat(1).chosen) == {"model": "pear"}


async def test_a_file_is_a_chats_model_in_any_folder(open_chat, put, database, monkeypatch) -> None:
    file = put("plum.gguf")
    shelf = Shelf(default=ScriptedModel(), **{str(file): ScriptedModel(*replies("one"))})
    monkeypatch.chdir(file.parent)
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/model plum.gguf")
        await until(pilot, lambda: state(app) == "plum.gguf answers in this chat now")
        assert notices(app) == ["plum.gguf: it can take back what it says"]
        await say(pilot, "first")
        await until(pilot, lambda: "tokens/s" in state(app))
    with History(database) as history:
        assert of_text(history.chat(1).chosen) == {"model": str(file)}


async def test_options_that_cannot_be_read_are_said_and_can_be_chosen_anew(open_chat, database) -> None:
    with History(database) as history:
        history.new_chat("hello", "Be brief", '{"temperature": 900}')
    shelf = Shelf(default=ScriptedModel(*replies("one")))
    app = open_chat(shelf)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready" and len(notices(app)) == 1)
        assert "temperature is 900.0; it must be from 0 to 100" in notices(app)[0]
        await say(pilot, "/again")
        await until(pilot, lambda: state(app) == "No reply")
        await say(pilot, "/options")
        await until(pilot, lambda: isinstance(app.screen, ChatForm))
        assert field(app, "system").text == "Be brief"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: state(app).startswith("Kept for this chat"))
        await say(pilot, "/again")
        await until(pilot, lambda: "tokens/s" in state(app))
        assert shelf.models["default"].asked[0][0].content == "Be brief"
