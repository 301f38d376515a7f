"""One description of each setting: what it says holds for the options, and the config file is changed by it."""

import importlib.util
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.config import changed_text, save_settings
from assistant.engine.options import GenerateOptions, LoadOptions, load_options
from assistant.engine.session import DEFAULT_CONTEXT
from assistant.settings import SETTINGS, Settings, load_settings
from convert.errors import TakebackError
from convert.reset_token import MAX_BIAS, MAX_HOLD_BACK

WRITTEN = """\
# What I like
temperature = 0.5  # warm # very

system = '''Be brief. # not a comment
model = "x"
'''
model = "a#b" # that one"""


def test_what_is_said_of_defaults_and_limits_is_so() -> None:
    options = GenerateOptions()
    loading = replace(load_options(Settings(), keeps="chats"), ctx=DEFAULT_CONTEXT)
    for name, setting in SETTINGS.items():
        if setting.about.default is not None:
            assert setting.about.default == getattr(options, name, getattr(loading, name, None)), name
    assert SETTINGS["reset_bias"].about.high == -SETTINGS["reset_bias"].about.low == MAX_BIAS
    assert SETTINGS["hold_back"].about.high == MAX_HOLD_BACK


def test_every_option_of_a_reply_can_be_set_and_has_the_limits_that_are_told() -> None:
    asked_for_each_time = {"prefill", "show_discarded", "grammar", "stop", "keeps"}
    names = set(GenerateOptions.__dataclass_fields__) | set(LoadOptions.__dataclass_fields__)
    assert names - asked_for_each_time <= set(SETTINGS)
    with pytest.raises(TakebackError, match=r"seed is -1; it must be from 0 to 4,294,967,295"):
        GenerateOptions(seed=-1)


def test_a_change_keeps_all_other_lines_and_the_comments() -> None:
    changed = changed_text(WRITTEN, {"temperature": 0.25, "model": 'q"é', "seed": 4})
    assert changed == WRITTEN.replace("0.5", "0.25").replace('"a#b"', '"q\\"é"') + "\nseed = 4\n"
    assert "temperature" not in changed_text(WRITTEN, {"temperature": None})
    assert changed_text("", {"plain": True}) == "plain = true\n"


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    config = tmp_path / "new" / "config.toml"
    save_settings({"temperature": 0.25, "after_reset": "off", "system": "a\nb\x1b"}, config)
    save_settings({"temperature": None, "plain": False}, config)
    settings = load_settings(environment={}, config=config)
    assert (
        settings._asdict().items()
        >= {"after_reset": "off", "system": "a\nb\N{REPLACEMENT CHARACTER}"}.items()
    )
    assert settings.temperature is None
    assert settings.plain is False
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize(
    ("text", "changes", "says"),
    [
        ("", {"temperature": 200.0}, "temperature is 200.0; it must be from 0 to 100"),
        ("", {"after_reset": "never"}, "must be one of rewind, keep, off"),
        ("seed = ", {"plain": True}, "not valid TOML"),
        ("colour = 3", {"plain": True}, "no such setting: colour"),
    ],
)
def test_a_wrong_value_or_file_changes_nothing(tmp_path, text, changes, says) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(TakebackError, match=says):
        save_settings(changes, config)
    assert config.read_text() == text


def test_a_link_stays_a_link(tmp_path) -> None:
    there, link = tmp_path / "dotfiles.toml", tmp_path / "config.toml"
    there.write_text("seed = 1\n")
    link.symlink_to(there)
    save_settings({"seed": 2}, link)
    assert link.is_symlink()
    assert there.read_text() == "seed = 2\n"


@given(
    st.lists(
        st.sampled_from(
            [
                "# a\n",
                "\n",
                "seed = 1 # '\n",
                'model = "#"\n',
                'system = """\nseed = 2\n"""# x\n',
                "dry=1\r\n",
            ]
        ),
        unique=True,
    ),
    st.dictionaries(st.sampled_from(["seed", "hold_back"]), st.none() | st.integers(0, 9)),
    st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"])),
)
def test_any_change_of_any_file_gives_what_was_wanted(lines, numbers, model) -> None:
    text, changes = "".join(lines), {**numbers, "model": model}
    wanted = tomllib.loads(text) | changes
    changed = changed_text(text, changes)
    assert tomllib.loads(changed) == {name: value for name, value in wanted.items() if value is not None}
    assert changed.count("#") >= sum(line == "# a\n" for line in lines)


def test_the_page_of_the_settings_is_the_one_of_now() -> None:
    path = Path(__file__).parent.parent / "docs" / "make_settings.py"
    spec = importlib.util.spec_from_file_location("make_settings", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run: python docs/make_settings.py"
