"""The loop on a fake model: a script says what it writes and where it takes back."""

import pytest

from assistant.engine.cancelled import Cancelled
from assistant.engine.events import Done, Prefill, Reset, Start, Text
from assistant.engine.generate import ResetRule, generate
from assistant.engine.rewind import Reply
from convert.errors import TakebackError

RESET, END = 99, 0
PROMPT = [50, 51, 52]


class Fake:
    """Writes a script: token ids, RESET where the rule is to fire, END, or `cancel`."""

    name = "fake"

    def __init__(self, script, size=100):
        self.script, self.size = list(script), size
        self.held, self.calls, self.cancelled = [], [], False

    room = property(lambda self: self.size - len(self.held))
    length = property(lambda self: len(self.held))

    def hold(self, ids):
        while self.held and (self.held != list(ids[: len(self.held)]) or len(self.held) >= len(ids)):
            self.held.pop()
        return len(self.held)

    def read(self, ids):
        for token in ids:
            self.step(token)
        yield len(ids)

    def step(self, token):
        if self.cancelled:
            raise Cancelled
        self.held.append(token)

    def mark(self):
        self.calls.append("mark")

    def rewind(self, length):
        del self.held[length:]

    def scrub(self, length):
        self.rewind(length)
        self.calls.append("scrub")

    def resume(self):
        self.cancelled = False

    def reset_margin(self, token):
        assert token == RESET
        fires = self.script[:1] == [RESET]
        return 0.0 if fires and self.script.pop(0) else -1.0

    def sample(self):
        token = self.script.pop(0)
        if token == "cancel":
            self.cancelled = True
            return self.sample()
        return token

    def accept(self, token):
        self.calls.append(("accept", token))

    def restart(self, resets, *, least_temperature):
        self.calls.append(("restart", resets, least_temperature))

    def is_end(self, token):
        return token == END

    def piece(self, token):
        return chr(token + 96).encode()


def run(model, *, prefill=(), after="rewind", bias=0.0, **reply):
    return list(generate(model, PROMPT, list(prefill), ResetRule(RESET, after, bias), Reply(**reply)))


def kinds(events):
    return [type(event) for event in events]


def test_a_plain_reply() -> None:
    model = Fake([1, 2, END])
    events = run(model)
    assert kinds(events) == [Start, Prefill, Text, Text, Done]
    assert events[0] == Start("fake", 3, 0, True)
    done = events[-1]
    assert (done.reason, done.text, done.tokens, done.resets, done.ids) == ("stop", "ab", 2, 0, (1, 2))
    assert model.held == [*PROMPT, 1, 2] and "scrub" not in model.calls


@pytest.mark.parametrize("after", ["rewind", "keep"])
def test_after_a_reset_the_memory_holds_prompt_and_reply_only(after) -> None:
    model = Fake([1, 2, RESET, 3, END])
    seen = []
    for event in generate(model, PROMPT, [], ResetRule(RESET, after), Reply()):
        if isinstance(event, Reset):
            seen = list(model.held)
        if isinstance(event, Done):
            assert (event.text, event.resets, event.discarded_tokens) == ("c", 1, 2)
    assert seen == ([*PROMPT, RESET] if after == "rewind" else [*PROMPT, 1, 2, RESET])
    assert model.held == [*PROMPT, 3]
    assert "scrub" in model.calls


def test_off_never_takes_back() -> None:
    events = run(Fake([1, RESET, 2, END]), after="off")
    assert Reset not in kinds(events) and events[-1].text == "ab" and not events[0].backtracking


def test_the_bias_decides() -> None:
    assert Reset not in kinds(run(Fake([1, RESET, 2, END]), bias=-0.5))
    # The fake's margin is -1 elsewhere: a bias of 1 fires everywhere, "at least the largest" included.
    assert run(Fake([1, 2, END]), bias=1.0)[-1].reason == "reset_limit"


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_the_reset_limit_withholds_the_text(limit) -> None:
    model = Fake([1, RESET] * (limit + 1))
    done = run(model, max_resets=limit)[-1]
    assert (done.reason, done.text, done.tokens, done.resets) == ("reset_limit", "", 0, limit + 1)
    assert model.held == PROMPT and "scrub" in model.calls


def test_from_the_second_reset_on_it_is_warmer() -> None:
    model = Fake([RESET, RESET, RESET, 1, END])
    run(model)
    assert [call for call in model.calls if call[0] == "restart"] == [
        ("restart", 1, 0),
        ("restart", 2, 0.7),
        ("restart", 3, 0.7),
    ]


def test_a_prefilled_beginning_is_part_of_the_draft() -> None:
    model = Fake([1, RESET, 2, END])
    events = run(model, prefill=[10, 11])
    assert events[0].prompt_tokens == 5
    assert "".join(e.text for e in events[: kinds(events).index(Reset)] if isinstance(e, Text)) == "jka"
    assert events[-1].text == "b" and model.held == [*PROMPT, 2]
    assert ("accept", 10) in model.calls

    kept = run(Fake([1, END]), prefill=[10, 11])[-1]
    assert kept.text == "jka" and kept.ids == (10, 11, 1)


def test_length() -> None:
    done = run(Fake([1, 2, 3, END]), max_tokens=2, hold_back=10)[-1]
    assert (done.reason, done.text) == ("length", "ab")


def test_a_full_context_releases_what_is_held_back() -> None:
    model = Fake([1, 2, 3, 4, END], size=5)
    done = run(model, hold_back=10)[-1]
    assert (done.reason, done.text) == ("context_full", "abc")
    assert model.held == [*PROMPT, 1, 2]


def test_a_reset_in_a_full_context_shows_nothing() -> None:
    events = run(Fake([1, 2, RESET, 3], size=5), after="keep")
    assert kinds(events)[-2:] == [Reset, Done]
    assert (events[-1].reason, events[-1].text) == ("context_full", "")


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    with pytest.raises(TakebackError, match="3 tokens"):
        run(Fake([END], size=3))


def test_cancel_throws_the_held_tail_away() -> None:
    model = Fake([1, 2, "cancel", 3, 4, END])
    done = run(model, hold_back=1)[-1]
    assert (done.reason, done.text, done.ids) == ("cancelled", "ab", (1, 2))
    assert model.held == [*PROMPT, 1, 2]


def test_cancel_in_the_prompt() -> None:
    model = Fake([1])
    model.cancelled = True
    events = run(model)
    assert kinds(events) == [Start, Done]
    assert events[-1].reason == "cancelled" and events[-1].ttft_ms is None


def test_cancel_while_taking_back_still_says_so() -> None:
    class Slow(Fake):
        def rewind(self, length):
            super().rewind(length)
            self.cancelled = "cancelled" not in self.calls
            self.calls.append("cancelled")

    model = Slow([1, RESET, 2])
    events = run(model)
    assert kinds(events)[-2:] == [Reset, Done]
    assert (events[-1].reason, events[-1].text) == ("cancelled", "")
    assert model.held == PROMPT


@pytest.mark.parametrize("script", [[1, 2, 3, END], [1, RESET, 2, 3, END]])
def test_a_reader_who_leaves_early(script) -> None:
    model = Fake(script)
    events = generate(model, PROMPT, [], ResetRule(RESET, "rewind"), Reply(hold_back=1))
    read = []
    for event in events:
        read.append(event)
        if isinstance(event, Text):
            break
    events.close()
    assert model.held == [*PROMPT, {"a": 1, "b": 2}[read[-1].text]]
    assert ("scrub" in model.calls) == (RESET in script)


def test_a_failing_model_leaves_nothing_behind() -> None:
    class Failing(Fake):
        def sample(self):
            if not self.script:
                raise TakebackError("the model failed")
            return super().sample()

    model = Failing([1, RESET, 2])
    with pytest.raises(TakebackError, match="failed"):
        run(model)
    assert model.held == [*PROMPT, 2]


@pytest.mark.parametrize("error", [Cancelled(), TakebackError("cannot be saved")])
def test_a_scrub_that_fails_leaves_nothing_at_all(error) -> None:
    class Failing(Fake):
        def scrub(self, length):
            raise error

    model = Failing([1, RESET, 2, END])
    done = run(model)[-1]
    assert (done.reason, done.text) == ("stop", "b")
    assert model.held == []
    model = Failing([1, RESET, 2, 3, END])
    events = generate(model, PROMPT, [], ResetRule(RESET, "rewind"), Reply())
    while not isinstance(next(events), Reset):
        pass
    events.close()
    assert model.held == []


def test_reading_the_reply_again_may_fail_after_it_is_done() -> None:
    class Failing(Fake):
        def scrub(self, length):
            super().scrub(length)
            self.broken = True

        def read(self, ids):
            if getattr(self, "broken", False):
                raise TakebackError("broken")
            return super().read(ids)

    model = Failing([1, RESET, 2, END])
    assert isinstance(run(model)[-1], Done)
    assert model.held == PROMPT


def test_a_memory_that_forgets_all_when_cut_off_reads_the_prompt_again() -> None:
    class Recurrent(Fake):
        def step(self, token):
            if token == 3 and not self.cancelled:
                self.cancelled = True
                self.held.clear()
            super().step(token)

        def resume(self):
            super().resume()
            self.step = super().step

    model = Recurrent([1, RESET, 2, 3, END])
    done = run(model)[-1]
    assert (done.reason, done.ids) == ("cancelled", (2, 3))
    assert model.held == [*PROMPT, 2, 3]


def test_the_next_turn_reads_only_what_is_new() -> None:
    model = Fake([1, RESET, 2, END, 3, END])
    run(model)
    events = list(generate(model, [*PROMPT, 2, 60, 61], [], ResetRule(RESET, "rewind"), Reply()))
    assert events[0].cached_tokens == 4


def test_an_ordinary_model_is_never_asked_for_a_reset() -> None:
    events = list(generate(Fake([1, END]), PROMPT, [], ResetRule(), Reply()))
    assert events[0].backtracking is False and events[-1].text == "a"
