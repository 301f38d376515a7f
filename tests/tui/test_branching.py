"""Going back: edits, replies written again or continued, and the versions that are kept."""

import threading

from assistant.conversation.history import History
from assistant.engine.events import Error
from assistant.tui.widgets.message import MessageView, Notice
from tests.tui.conftest import fail, say, state, stored
from tests.tui.scripted import Frames, ScriptedModel, done, reset, text, until


def replies(*words: str) -> list[list]:
    return [[text(word), done(word)] for word in words]


def shown(app) -> list[str]:
    return [view._parts[1].plain for view in app.chat.query(MessageView)]


def labels(app) -> list[str]:
    return [view._parts[0][0].content.plain for view in app.chat.query(MessageView)]


async def talked(pilot, *words: str) -> None:
    await until(pilot, lambda: state(pilot.app) == "Ready")
    for turn, word in enumerate(words, 1):
        await say(pilot, word)
        await until(pilot, lambda turn=turn: len(shown(pilot.app)) == 2 * turn)


async def test_an_edited_message_begins_a_branch_and_the_old_one_can_be_shown(start, database) -> None:
    model = ScriptedModel(*replies("first.", "second.", "better."))
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        await talked(pilot, "one", "two")
        app.chat._prompt.text = "half a thought"
        await pilot.press("shift+tab", "up", "e")
        await until(pilot, lambda: app.chat._prompt.text == "two")
        assert app.focused is app.chat._prompt
        await pilot.press(*"!", "enter")
        await until(pilot, lambda: shown(app) == ["one", "first.", "two!", "better."])
        assert labels(app)[2] == "You  version 2 of 2"
        assert app.chat._prompt.text == "half a thought"
        assert [m.content for m in model.asked[-1]] == ["one", "first.", "two!"]
        await pilot.press("shift+tab", "up", "left")
        await until(pilot, lambda: shown(app) == ["one", "first.", "two", "second."])
        assert labels(app)[2] == "You  version 1 of 2"
        await pilot.press("left")
        await until(pilot, lambda: "no other version that way" in state(app))
        await app.chat.action_newer_version()
        await until(pilot, lambda: shown(app)[-1] == "better.")
    assert app.chat.end()
    assert [row[1] for row in stored(database)] == ["one", "first.", "two!", "better."]


async def test_esc_leaves_editing_and_gives_the_prompt_back(start, database) -> None:
    app = start(ScriptedModel(*replies("first.")))
    async with app.run_test(size=(80, 30)) as pilot:
        await talked(pilot, "one")
        app.chat._prompt.text = "half a thought"
        await app.chat.action_edit()
        assert app.chat._prompt.text == "one"
        assert "Editing" in str(app.chat._prompt.border_title)
        await pilot.press("escape")
        assert app.chat._prompt.text == "half a thought"
        assert not app.chat._prompt.border_title
    assert app.chat.end()
    assert len(stored(database)) == 2


async def test_an_old_message_comes_clean_into_the_prompt_and_its_file_once(
    start, database, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("@b.py(\n")
    (tmp_path / "b.py").write_text("not this one")
    sent = "see @a.py\n\nFile a.py:\n\n```\n@b.py \x1b[31m\n```"
    with History(database) as history:
        history.new_chat(sent)
    model = ScriptedModel(*replies("ok"))
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await app.chat.action_edit()
        assert app.chat._prompt.text == sent.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
        await pilot.press("enter")
        await until(pilot, lambda: len(shown(app)) == 2)
    assert model.asked[0][0].content == sent.replace("\x1b", "\N{REPLACEMENT CHARACTER}")


async def test_a_reply_is_written_again_and_the_old_one_kept(start, database) -> None:
    model = ScriptedModel(*replies("first.", "again."))
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        frames = Frames(app)
        await talked(pilot, "one")
        await pilot.press("shift+tab", "r")
        await until(pilot, lambda: shown(app) == ["one", "again."])
        assert labels(app)[1] == "Assistant  version 2 of 2"
        assert [m.content for m in model.asked[-1]] == ["one"]
        assert "first." not in frames.screen()
        await app.chat.action_older_version()
        await until(pilot, lambda: shown(app) == ["one", "first."])


async def test_while_a_reply_is_written_nothing_goes_back(start) -> None:
    app = start(ScriptedModel([text("first."), done("first.")], [text("Half"), threading.Event()]))
    async with app.run_test(size=(80, 30)) as pilot:
        await talked(pilot, "one")
        await say(pilot, "two")
        await until(pilot, lambda: state(app) == "Writing…")
        for action in ("edit", "regenerate", "continue_reply"):
            await getattr(app.chat, f"action_{action}")()
            assert "Not yet" in state(app)
        assert app.chat._editing is None
        assert len(shown(app)) == 3


async def cut_off(pilot, model) -> None:
    await until(pilot, lambda: state(pilot.app) == "Ready")
    await say(pilot, "count")
    await until(pilot, lambda: shown(pilot.app)[-1:] == ["one two"])


async def test_a_cut_reply_is_continued_in_one(start, database) -> None:
    script = [text("one two"), text(" three"), done("one two three", ids=(1, 2, 3))]
    model = ScriptedModel([text("one two"), done("one two", "length")], script)
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        await cut_off(pilot, model)
        await app.chat.action_continue_reply()
        await until(pilot, lambda: shown(app) == ["count", "one two three"] and "tokens/s" in state(app))
        assert labels(app)[1] == "Assistant"
        assert model.options[-1].prefill == "one two"
        await app.chat.action_continue_reply()
        await until(pilot, lambda: "was not cut off" in state(app))
    assert app.chat.end()
    assert stored(database) == [("user", "count", ""), ("assistant", "one two three", "stop")]
    with History(database) as history:
        assert history.entries(1)[-1].versions == 1


async def test_what_a_continuation_takes_back_is_gone_with_its_beginning(start, database) -> None:
    script = [text("one two"), text(" bad"), reset(11), text("Rather not."), done("Rather not.", resets=1)]
    model = ScriptedModel([text("one two"), done("one two", "length")], script)
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        await cut_off(pilot, model)
        await app.chat.action_continue_reply()
        await until(pilot, lambda: shown(app) == ["count", "Rather not."])
    assert app.chat.end()
    assert b"one two" not in b"".join(path.read_bytes() for path in database.parent.glob("history.db*"))
    with History(database) as history:
        assert history.entries(1)[-1].versions == 1


async def test_a_continuation_that_fails_at_once_leaves_the_cut_reply(start, database) -> None:
    model = ScriptedModel([text("one two"), done("one two", "length")], [Error("no")], [threading.Event()])
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        await cut_off(pilot, model)
        await app.chat.action_continue_reply()
        await until(pilot, lambda: state(app) == "No reply" and shown(app) == ["count", "one two"])
        await app.chat.action_continue_reply()
        await until(pilot, lambda: len(model.asked) == 3)
        await pilot.press("escape")
        await until(pilot, lambda: "Stopped" in state(app) and shown(app) == ["count", "one two"])
    assert app.chat.end()
    assert stored(database)[-1][1] == "one two"


async def test_a_reply_that_more_was_said_after_is_not_continued(start, database) -> None:
    model = ScriptedModel([text("one two"), done("one two", "length")], *replies("ok"))
    app = start(model)
    async with app.run_test(size=(80, 30)) as pilot:
        await cut_off(pilot, model)
        await say(pilot, "next")
        await until(pilot, lambda: shown(app)[-1] == "ok")
        await pilot.press("shift+tab", "up", "up", "c")
        await until(pilot, lambda: "More was said" in state(app))
        assert shown(app) == ["count", "one two", "next", "ok"]
    assert len(model.asked) == 2


async def test_a_reply_that_cannot_be_written_again_is_shown_again(start, database, monkeypatch) -> None:
    app = start(ScriptedModel(*replies("first.", "second.")))
    async with app.run_test(size=(80, 30)) as pilot:
        await talked(pilot, "one", "two")
        await until(pilot, lambda: "tokens/s" in state(app))
        monkeypatch.setattr("assistant.conversation.model_thread.see", fail)
        await pilot.press("shift+tab", "up", "up", "r")
        await until(pilot, lambda: app.chat.query(Notice))
        await until(pilot, lambda: shown(app) == ["one", "first.", "two", "second."])


async def test_without_a_model_nothing_leaves_the_screen(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("one")
        history.settle(history.begin(chat), "first.", reason="stop")
    app = start(fail)
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: "No model" in state(app))
        await app.chat.action_regenerate()
        await until(pilot, lambda: state(app) == "No reply" and shown(app) == ["one", "first."])


async def test_the_models_thread_keeps_no_beginning_that_was_taken_back(start, database) -> None:
    script = [text("one two"), reset(7), text("No."), done("No.", resets=1)]
    app = start(ScriptedModel([text("one two"), done("one two", "length")], script))
    asked = []
    async with app.run_test(size=(80, 30)) as pilot:
        await cut_off(pilot, None)
        submit = app.chat._model.submit
        app.chat._model.submit = lambda request: (asked.append(request), submit(request))
        await app.chat.action_continue_reply()
        await until(pilot, lambda: shown(app) == ["count", "No."])
    assert [request.beginning for request in asked] == [""]
