"""Presets: one file, whole or as it was, whose mistakes are named."""

import json
import threading

import pytest

from assistant.conversation.presets import delete_preset, presets, save_preset
from convert.errors import TakebackError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    return tmp_path


def test_presets_are_saved_replaced_and_deleted(home) -> None:
    assert presets() == {}
    assert save_preset(" warm \x1b[31m\n", {"temperature": 1.5}) == "warm \N{REPLACEMENT CHARACTER}[31m"
    save_preset("cold", {"temperature": 0.0, "system": "Be\nbrief"})
    save_preset("cold", {"temperature": 0.1})
    assert list(presets()) == ["cold", "warm \N{REPLACEMENT CHARACTER}[31m"]
    delete_preset("cold")
    delete_preset("nothing")
    assert list(presets()) == ["warm \N{REPLACEMENT CHARACTER}[31m"]
    with pytest.raises(TakebackError, match="needs a name"):
        save_preset(" \n", {})


def test_two_that_save_at_once_lose_nothing() -> None:
    threads = [
        threading.Thread(target=save_preset, args=(f"preset {number}", {"seed": number}))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(presets()) == 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be an object of presets"),
        ('{"a": 1}', "must be an object of presets"),
        ('{"a": {"temperature": 200}}', "presets.json: a: temperature is 200.0; it must be from 0 to 100"),
        ('{"a": {"model": "x"}}', "'model' is nothing that can be chosen"),
    ],
)
def test_a_wrong_file_is_named_and_kept(home, text, says) -> None:
    (home / "presets.json").write_text(text)
    for use in (presets, lambda: save_preset("b", {})):
        with pytest.raises(TakebackError, match=says):
            use()
    assert (home / "presets.json").read_text() == text


def test_a_disk_that_is_full_leaves_what_was_there(home, monkeypatch) -> None:
    save_preset("cold", {"temperature": 0.0})
    before = (home / "presets.json").read_bytes()
    monkeypatch.setattr("convert.whole_file.os.fsync", _full)
    with pytest.raises(TakebackError, match="cannot be written: No space"):
        save_preset("warm", {"temperature": 1.0})
    assert (home / "presets.json").read_bytes() == before
    assert json.loads(before) == presets()


def _full(handle: int) -> None:
    raise OSError(28, "No space left on device")
