"""What a reader sees when a draft is taken back, frame by frame."""

import asyncio
import threading

import pytest

from assistant.conversation.history import History
from assistant.tui.widgets.transcript import Transcript
from tests.tui.conftest import state
from tests.tui.scripted import Frames, ScriptedModel, done, reset, text, until

DRAFT = "Zebrafish"
TALL = "\n\n".join(f"{DRAFT} paragraph {number}" for number in range(30))


def blank(frame: str) -> bool:
    """Whether the transcript of a frame shows nothing at all."""
    return not any(line.strip(" ▁▂▃▄▅▆▇█▌") for line in frame.splitlines()[1:-4])


@pytest.mark.parametrize("draft", [f"{DRAFT} is what I would say.", TALL], ids=["short", "tall"])
async def test_a_shown_draft_is_gone_in_one_frame_that_is_not_blank(start, draft: str) -> None:
    shown, go_on, more = threading.Event(), threading.Event(), threading.Event()
    script = [text(draft), shown, reset(len(draft)), go_on, text("A better"), more, text(" answer."),
              done("A better answer.", resets=1)]  # fmt: skip
    app = start(ScriptedModel(script))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: DRAFT in frames.screen())
        before = len(frames)
        shown.set()
        await until(pilot, lambda: "taken back" in frames.screen())
        after = next(n for n in range(before, len(frames)) if "Draft taken back" in frames.frames[n])
        go_on.set()
        await until(pilot, lambda: "A better" in frames.screen())
        more.set()
        await until(pilot, lambda: "Ready" in state(app))
        await pilot.press(*"abc")
        await pilot.pause(0.2)
    assert all("Assistant" in frame for frame in frames.frames[after:])
    assert all(DRAFT in frame for frame in frames.frames[before:after])
    assert not any(DRAFT in frame for frame in frames.frames[after:])
    assert not any(blank(frame) for frame in frames.frames[before:])
    assert all("Draft taken back" in frame for frame in frames.frames[after:])
    if draft != TALL:
        rows = {frame.splitlines().index(next(line for line in frame.splitlines() if "hello" in line))
                for frame in frames.frames[before:] if "hello" in frame}  # fmt: skip
        assert len(rows) == 1, "the view jumped"


async def test_a_tall_draft_leaves_its_place_to_the_new_words(start) -> None:
    shown, more = threading.Event(), threading.Event()
    app = start(ScriptedModel([text(TALL), shown, reset(len(TALL)), text("Short."), more, done("Short.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: f"{DRAFT} paragraph 29" in frames.screen())
        shown.set()
        await until(pilot, lambda: "Short." in frames.screen())
        lines = frames.screen().splitlines()
        assert "Assistant" in lines[1] or "Assistant" in lines[2]
        more.set()
        await until(pilot, lambda: "Ready" in state(app))
        assert "Short." in frames.screen()


async def test_a_draft_that_was_not_seen_changes_only_a_count(start) -> None:
    held, more = threading.Event(), threading.Event()
    app = start(ScriptedModel([held, reset(0), reset(0), more, text("Good."), done("Good.", resets=2)]))
    async with app.run_test(size=(100, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "…" in frames.screen())
        transcript = frames.screen().splitlines()[:-1]
        held.set()
        await until(pilot, lambda: "2 unseen drafts taken back" in state(app))
        assert frames.screen().splitlines()[:-1] == transcript
        more.set()
        await until(pilot, lambda: "Good." in frames.screen())
        assert not any("↺" in frame for frame in frames.frames)


@pytest.mark.parametrize(
    ("size", "words"),
    [((80, 24), "Writing… · 2 unseen drafts taken back"), ((40, 12), "2 unseen · Writing…")],
)
async def test_the_count_of_unseen_drafts_has_room_in_a_small_terminal(start, size, words: str) -> None:
    more = threading.Event()
    app = start(ScriptedModel([reset(0), reset(0), text("Good."), more, done("Good.", resets=2)]))
    async with app.run_test(size=size) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: words in frames.screen().splitlines()[-1])


async def test_too_many_resets_are_told_in_words_that_do_not_scold(start, database) -> None:
    app = start(ScriptedModel([text(DRAFT), reset(9), reset(0), done("", "reset_limit", resets=5, ids=())]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "no answer to this" in frames.screen())
        assert DRAFT not in frames.screen()
    assert app.chat.end()
    with History(database) as history:
        last = history.entries(1)[-1]
        assert (last.text, last.reason, last.state) == ("", "reset_limit", "settled")


async def test_a_reader_who_scrolled_away_is_not_moved(start) -> None:
    shown, more, end = threading.Event(), threading.Event(), threading.Event()
    script = [text(DRAFT), shown, reset(9), text("New words"), more, text("\n\nmore" * 30), end, done("x")]
    long = "\n\n".join(f"paragraph {number}" for number in range(40))
    app = start(ScriptedModel([text(long), done(long)], script))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "paragraph 39" in frames.screen() and "Ready" in state(app))
        await pilot.press("b", "enter")
        await until(pilot, lambda: DRAFT in frames.screen())
        await pilot.press("pageup", "pageup")
        await until(pilot, lambda: "paragraph 20" in frames.screen() and DRAFT not in frames.screen())
        transcript = app.screen.query_one(Transcript)
        place = transcript.scroll_y
        shown.set()
        await until(pilot, lambda: transcript.live and transcript.live.shown_resets)
        more.set()
        await until(pilot, lambda: transcript.live and "more" in transcript.live.said)
        end.set()
        await until(pilot, lambda: "Ready" in state(app))
        assert transcript.scroll_y == place
        assert not transcript.following
        await pilot.press("ctrl+end")
        await until(pilot, lambda: transcript.scroll_y == transcript.max_scroll_y)
        assert transcript.following


@pytest.mark.parametrize("width", range(30, 90, 7))
async def test_every_word_of_a_long_paragraph_is_on_the_screen(start, width: int) -> None:
    words = " ".join(f"w{number}" for number in range(60))
    gate = threading.Event()
    app = start(ScriptedModel([text(words), gate, done(words)]))
    async with app.run_test(size=(width, 60)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        app.screen.query_one("Prompt").text = words.upper()
        await pilot.press("enter")
        await until(pilot, lambda: "w59" in frames.screen() and "W59" in frames.screen())
        gate.set()
        await until(pilot, lambda: "Ready" in state(app))
        assert all(word in frames.screen().split() for word in (words + " " + words.upper()).split())


async def test_scrolling_back_down_follows_again(start) -> None:
    long = "\n\n".join(f"paragraph {number}" for number in range(40))
    app = start(ScriptedModel([text(long), done(long)]))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "tokens/s" in state(app))
        transcript = app.screen.query_one(Transcript)
        await until(pilot, lambda: transcript.scroll_y == transcript.max_scroll_y > 0)
        await pilot.press("pageup")
        await until(pilot, lambda: not transcript.following)
        await pilot.press("pagedown", "pagedown")
        await until(pilot, lambda: transcript.following)


async def test_a_short_chat_is_never_scrolled_out_of_place(start) -> None:
    shown, end = threading.Event(), threading.Event()
    app = start(ScriptedModel([text("a\n\nb\n\nc"), shown, reset(7), end, done("x")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: "Writing" in state(app))
        shown.set()
        await until(pilot, lambda: "taken back" in frames.screen())
        end.set()
        await until(pilot, lambda: "Ready" in state(app))
        assert app.screen.query_one(Transcript).scroll_y == 0
        await asyncio.sleep(0.05)
        assert frames.screen().splitlines()[2].strip().startswith("▌  You")
