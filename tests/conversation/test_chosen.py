"""What is chosen for a chat: checked, stored with it, and put before the program's own settings."""

import pytest

from assistant.conversation.chosen import as_text, checked, of_text, options_with
from assistant.conversation.history import History
from assistant.engine.options import GenerateOptions
from convert.errors import TakebackError


def test_choices_are_stored_with_their_chat(tmp_path) -> None:
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat("Hello", "Be brief", as_text({"temperature": 0.2}))
        other, _ = history.new_chat("Hello again")
        assert (history.chat(other).system, of_text(history.chat(other).chosen)) == (None, {})
        history.set_up(chat, "Be\nlong", as_text({"model": "pear", "max_resets": 1}))
    with History(tmp_path / "history.db") as history:
        assert history.chat(chat).system == "Be\nlong"
        assert of_text(history.chat(chat).chosen) == {"model": "pear", "max_resets": 1}
        history.set_up(chat, None, as_text({}))
        assert history.chat(chat).chosen is history.chat(chat).system is None
        assert history.search("hello")[0].chat.chosen is None


def test_choices_go_before_the_settings() -> None:
    base = GenerateOptions(temperature=0.9, seed=3)
    chosen = {"temperature": 0.0, "after_reset": "off", "model": "pear", "system": "Be brief"}
    assert options_with(base, chosen) == GenerateOptions(temperature=0.0, seed=3, after_reset="off")
    assert options_with(None, {"model": "pear"}) is None
    assert options_with(None, {"top_k": 1}) == GenerateOptions(top_k=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"ctx": 100}', "'ctx' is nothing that can be chosen"),
        ('{"temperature": 200}', "temperature is 200.0; it must be from 0 to 100"),
        ('{"seed": 1.5}', "seed is 1.5; it must be a whole number"),
    ],
)
def test_what_is_stored_wrongly_is_told_in_one_line(text, says) -> None:
    with pytest.raises(TakebackError, match=says) as raised:
        of_text(text)
    assert "\n" not in str(raised.value)


def test_empty_texts_are_not_chosen() -> None:
    assert checked({"system": "", "seed": "7"}, "here") == {"seed": 7}
