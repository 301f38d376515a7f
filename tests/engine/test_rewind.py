"""No order of tokens, resets and ends lets a reader see what was taken back as if it stood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engine.events import Reset, Text
from assistant.engine.rewind import Reply

# Pieces as vocabularies have them: words, parts of characters, control sequences, nothing at all.
PIECES = st.sampled_from(
    [
        b"a",
        b" word",
        b"",
        b"\xf0",
        b"\x9f\x98",
        b"\x80",
        "ß".encode(),
        b"\xff",
        b"\x1b[2J",
        b"STOP",
        b"ST",
        b"OP",
    ]
)
STEPS = st.lists(st.one_of(PIECES, st.just("reset")), max_size=40)
ENDS = st.sampled_from(["stop", "length", "cancelled", "context_full"])


def run(reply: Reply, steps, prefill=(), end="stop"):
    """Drive a reply; returns its events, and the pieces of each draft."""
    drafts = [list(prefill)]
    events = list(reply.prefill(range(len(prefill)), list(prefill)))
    for number, step in enumerate(steps):
        if step == "reset":
            events.append(reply.reset())
            drafts.append([])
        else:
            drafts[-1].append(step)
            events += reply.add(1000 + number, step)
        if reply.ended:
            break
    events += reply.finish(end)
    return events, drafts


def standing(events) -> str:
    """The text that a reader has who obeys the events."""
    text = ""
    for event in events:
        text = "" if isinstance(event, Reset) else text + event.text
    return text


def plain(pieces) -> str:
    return b"".join(pieces).decode("utf-8", "replace").replace("\x1b", "\ufffd")


@given(STEPS, st.lists(PIECES, max_size=4), st.integers(0, 6), ENDS, st.integers(0, 3))
def test_what_stands_is_the_last_draft(steps, prefill, hold_back, end, max_resets) -> None:
    reply = Reply(hold_back=hold_back, max_resets=max_resets)
    events, drafts = run(reply, steps, prefill, end)

    assert standing(events) == reply.text
    assert len(reply.ids) <= len(drafts[-1])
    if reply.ended == "reset_limit":
        assert reply.text == "" and reply.ids == () and reply.resets == max_resets + 1
    elif reply.ended == "cancelled":
        assert plain(drafts[-1]).startswith(reply.text)
        assert len(reply.ids) <= max(0, len(drafts[-1]) - hold_back)
    else:
        assert reply.text == plain(drafts[-1])
        assert len(reply.ids) == len(drafts[-1])
    assert reply.discarded_tokens == sum(map(len, drafts[: reply.resets]))


@given(STEPS, st.integers(0, 6))
def test_nothing_is_shown_before_enough_tokens_follow(steps, hold_back) -> None:
    reply = Reply(hold_back=hold_back)
    draft: list[bytes] = []
    seen = ""
    for step in steps:
        if step == "reset":
            event = reply.reset()
            assert event.shown_chars == len(seen)
            draft, seen = [], ""
        else:
            draft.append(step)
            seen += "".join(event.text for event in reply.add(0, step))
            assert plain(draft[: max(0, len(draft) - hold_back)]).startswith(seen)
        if reply.ended:
            break


@given(STEPS, st.lists(PIECES, max_size=3), st.integers(0, 4))
def test_a_reset_counts_what_was_shown_and_tells_the_draft_only_if_asked(steps, prefill, hold_back) -> None:
    for ask in (False, True):
        reply = Reply(hold_back=hold_back, show_discarded=ask, max_resets=1000)
        events, drafts = run(reply, steps, prefill)
        shown = 0
        resets = iter(drafts)
        for event in events:
            if isinstance(event, Reset):
                assert event.shown_chars + event.shown_prefill_chars == shown
                assert event.discarded == (plain(next(resets)) if ask else None)
                shown = 0
            else:
                shown += len(event.text)


@given(st.lists(PIECES, max_size=30), st.integers(0, 5), st.lists(PIECES, max_size=2))
def test_a_stop_text_ends_the_reply_before_it(pieces, hold_back, prefill) -> None:
    reply = Reply(hold_back=hold_back, stops=("STOP", "wordword"))
    events, _ = run(reply, pieces, prefill)
    generated = b"".join(pieces)
    place = min((p for p in (generated.find(b"STOP"), generated.find(b"wordword")) if p >= 0), default=None)
    wanted = plain([*prefill, generated[:place]])
    assert standing(events) == reply.text == wanted
    assert "STOP" not in reply.text[len(plain(prefill)) :]
    assert len(reply.ids) <= len(pieces) + len(prefill)


@given(STEPS, st.integers(0, 5), st.integers(1, 8))
def test_the_length_counts_this_draft_without_its_prefill(steps, hold_back, limit) -> None:
    reply = Reply(hold_back=hold_back, max_tokens=limit)
    _, drafts = run(reply, steps, [b"begun"])
    if reply.ended == "length":
        assert len(drafts[-1]) == limit + (1 if len(drafts) == 1 else 0)
    else:
        assert len(drafts[-1]) < limit + (1 if len(drafts) == 1 else 0)


@given(STEPS, st.integers(0, 5))
def test_a_reader_who_leaves_ends_the_reply_with_what_was_shown(steps, hold_back) -> None:
    reply = Reply(hold_back=hold_back, max_resets=1000)
    seen = []
    for step in steps:
        seen += [reply.reset()] if step == "reset" else reply.add(1, step)
    reply.abandon()
    assert reply.ended == "cancelled"
    assert reply.text == standing(seen)
    assert len(reply.ids) <= reply.held + len(reply.ids)


def test_half_a_character_waits_for_its_other_half() -> None:
    reply = Reply()
    smile = "😀".encode()
    assert list(reply.add(1, smile[:2])) == []
    assert list(reply.add(2, smile[2:])) == [Text("😀")]


def test_a_prefilled_beginning_is_taken_back_with_the_draft() -> None:
    reply = Reply(hold_back=1)
    shown = [*reply.prefill([1, 2], [b"Sure", b", here"]), *reply.add(3, b" is")]
    assert [event.text for event in shown] == ["Sure", ", here"]
    event = reply.reset()
    assert (event.discarded_tokens, event.shown_chars, event.shown_prefill_chars) == (3, 0, 10)


@pytest.mark.parametrize("limit", [0, 2])
def test_too_many_resets_end_with_nothing(limit) -> None:
    reply = Reply(max_resets=limit)
    for _ in range(limit + 1):
        assert reply.ended is None
        list(reply.add(1, b"bad"))
        reply.reset()
    assert reply.ended == "reset_limit"
    assert list(reply.finish("stop")) == []
    assert reply.text == ""
