"""Flags before environment before file, and one line for what is wrong in any of them."""

import pytest

from assistant.engine.message import Message, check_messages, load_messages
from assistant.engine.options import GenerateOptions, LoadOptions, generate_options, load_options
from assistant.settings import Settings, load_settings
from convert.errors import TakebackError


def load(tmp_path, flags=None, environment=None, text=""):
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_settings(flags, environment=environment or {}, config=file)


def test_flags_go_before_environment_before_file(tmp_path) -> None:
    text = "temperature = 0.1\nmax_resets = 1\nhold_back = 5\nplain = true\nmodel = 'x'\n"
    environment = {
        "TAKEBACK_MAX_RESETS": "2",
        "TAKEBACK_HOLD_BACK": "6",
        "TAKEBACK_MODEL": "",
        "TAKEBACK_HOME": "/",
    }
    found = load(tmp_path, {"hold_back": 7, "seed": None, "json": True}, environment, text)
    assert found == Settings(model="x", temperature=0.1, max_resets=2, hold_back=7, plain=True)


def test_no_file_is_no_error(tmp_path) -> None:
    assert load_settings(environment={}, config=tmp_path / "none.toml") == Settings()


@pytest.mark.parametrize(
    ("environment", "text", "says"),
    [
        ({"TAKEBACK_SEED": "x"}, "", "TAKEBACK_SEED is 'x'; it must be a whole number"),
        ({"TAKEBACK_PLAIN": "maybe"}, "", "TAKEBACK_PLAIN"),
        ({}, "temperature = true", "temperature is True; it must be a number"),
        ({}, "model = 3", "model is 3; it must be text"),
        ({}, "colour = 'red'", "no such setting: colour"),
        ({}, "model = ", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, environment, text, says) -> None:
    with pytest.raises(TakebackError, match=says.replace("(", r"\(")) as raised:
        load(tmp_path, environment=environment, text=text)
    assert "\n" not in str(raised.value)


def test_options_are_made_of_what_was_set() -> None:
    settings = Settings(temperature=0.0, ctx=512, after_reset="keep")
    assert load_options(settings) == LoadOptions(ctx=512)
    assert generate_options(settings, prefill="x") == GenerateOptions(
        temperature=0.0, after_reset="keep", prefill="x"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"reset_bias": float("inf")},
        {"hold_back": -1},
        {"max_resets": -1},
        {"after_reset": "maybe"},
        {"stop": ("",)},
    ],
)
def test_options_have_bounds(options) -> None:
    with pytest.raises(TakebackError):
        GenerateOptions(**options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "JSON list"),
        ("[", "not valid JSON"),
        ("[1]", "message 1"),
        ('[{"role": "user"}]', "content"),
        ('[{"role": "user", "content": ["x"]}]', "content"),
        ("[]", "empty"),
        ('[{"role": "assistant", "content": "x"}]', "last message"),
        ('[{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]', "only the first"),
    ],
)
def test_a_bad_conversation_names_the_file(tmp_path, text, says) -> None:
    file = tmp_path / "chat.json"
    file.write_text(text)
    with pytest.raises(TakebackError, match=says) as raised:
        load_messages(file)
    assert "chat.json" in str(raised.value)


def test_a_good_conversation(tmp_path) -> None:
    file = tmp_path / "chat.json"
    file.write_text('[{"role": "system", "content": "s"}, {"role": "user", "content": "u", "id": 3}]')
    assert load_messages(file) == [Message("system", "s"), Message("user", "u")]
    check_messages(load_messages(file))
