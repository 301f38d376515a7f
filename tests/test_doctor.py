"""`takeback doctor`: what it finds, what it calls broken, and that it tells no text of a chat."""

import argparse
import json
import sqlite3
from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.doctor import colours, memory, terminal
from assistant.doctor_cli import add_arguments_doctor, run_doctor
from assistant.models import bundled
from assistant.models.pull import fetching_dir
from assistant.paths import config_file, data_dir, database, models_dir
from convert.errors import TakebackError

SECRET = "the nightingale sings at noon"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "home"))
    for name in ("TAKEBACK_MODEL", "TAKEBACK_THREADS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def doctor(capsys):
    def run(*words: str):
        parser = argparse.ArgumentParser()
        add_arguments_doctor(parser)
        status = run_doctor(parser.parse_args(words))
        return status, capsys.readouterr().out

    return run


@pytest.fixture
def broken(doctor, monkeypatch):
    """What is broken, by name, without the child that loads llama.cpp; the exit status is held against it."""
    monkeypatch.setattr("assistant.engine.build.features", lambda: ("AVX2", False))

    def run() -> dict[str, str]:
        status, said = doctor("--json")
        told = json.loads(said)
        found = {fact["name"]: fact["remedy"] for fact in told["facts"] if fact["remedy"] is not None}
        assert told["broken"] == len(found)
        assert status == (1 if found else 0)
        assert all("\n" not in remedy and remedy for remedy in found.values())
        assert SECRET not in said
        return found

    return run


def test_all_is_sound_and_nothing_is_made(doctor, home):
    status, said = doctor()
    assert status == 0, said
    assert said.endswith("Nothing is broken.\n")
    for word in (
        "Versions",
        "llama-cpp-python",
        "its build",
        "threads",
        "not built yet",
        "models pull",
        "listens",
    ):
        assert word in said
    assert not home.exists()


def test_json_tells_the_same_parts(doctor):
    told = json.loads(doctor("--json")[1])
    assert told["broken"] == 0
    parts = {fact["part"] for fact in told["facts"]}
    assert parts == {"versions", "machine", "places", "models", "terminal", "network"}


def test_chats_are_counted_in_bytes_and_never_told(doctor, home):
    with History(database()) as history:
        chat, _ = history.new_chat(SECRET, system=SECRET)
        history.say(chat, SECRET)
    before = {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}
    status, said = doctor()
    assert status == 0
    assert "kB): sound" in said
    assert "nightingale" not in said
    assert before == {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}


def test_a_damaged_store_is_broken(broken):
    with History(database()) as history:
        chat, _ = history.new_chat(SECRET)
        for _ in range(200):
            history.say(chat, SECRET * 20)
    raw = bytearray(database().read_bytes())
    for page in range(8, len(raw) // 4096, 2):
        raw[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    database().write_bytes(raw)
    assert "keep it" in broken()["chats"]
    database().write_bytes(SECRET.encode() * 500)
    assert "damaged or no database" in broken()["chats"]


def test_a_store_of_a_newer_takeback_is_broken(broken):
    History(database()).close()
    with sqlite3.connect(database()) as store:
        store.execute("PRAGMA user_version = 999")
    store.close()
    assert "upgrade" in broken()["chats"]


def test_a_home_that_is_no_folder_is_broken(broken, home):
    home.write_text("")
    assert "TAKEBACK_HOME" in broken()["data"]


def test_settings_that_are_wrong_are_broken(broken, monkeypatch):
    data_dir().mkdir()
    config_file().write_text(f'system = "{SECRET}"\nthreads = "many"\n')
    assert "a whole number" in broken()["settings"]
    config_file().write_text(f'system = "{SECRET}\n')
    assert "not valid TOML" in broken()["settings"]
    config_file().write_text(f'system = "{SECRET}"\n')
    assert broken() == {}
    monkeypatch.setenv("TAKEBACK_MODEL", "nothing-here")
    assert "no model or file named" in broken()["chosen"]


def test_models_that_are_damaged_or_fetched_in_part_are_told_of(broken, doctor):
    fetching_dir().mkdir(parents=True)
    (fetching_dir() / "0.part").write_bytes(bytes(2_000_000))
    assert broken() == {}
    assert "fetched in part   " in doctor()[1]
    (models_dir() / "odd\x1b.gguf").write_bytes(b"GGUF\x03")
    assert broken() == {"odd�": "remove it with: takeback models remove odd�"}
    file = bundled.default_file()
    file.parent.mkdir()
    file.write_bytes(b"GGUF\x03")
    assert "built again" in broken()["default"]


def test_what_is_not_installed_is_broken(broken, monkeypatch):
    monkeypatch.setattr(bundled, "BASE_PACKAGE", "no_such_package")
    monkeypatch.setattr("assistant.doctor._version", lambda name: None if name == "textual" else "1")
    assert broken()["textual"] == "pip install textual"
    assert "takeback[model]" in broken()["default"]


def test_a_build_for_another_processor_is_broken(broken, monkeypatch):
    def dies():
        raise TakebackError("llama.cpp cannot be loaded: its process ended with status -4")

    monkeypatch.setattr("assistant.engine.build.features", dies)
    assert "compile it on this machine" in broken()["its build"]


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "16 million"),
        ({"TERM": "xterm", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
        ({"TERM": "linux", "NO_COLOR": ""}, "16"),
        ({"TERM": "dumb"}, "none"),
        ({}, "none"),
    ],
)
def test_colours_are_what_the_terminal_says(environment, found):
    assert colours(environment) == found


def test_a_terminal_is_told_by_size_and_kind(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "12")
    facts = {name: value for name, value, _ in terminal({"TERM": "dumb", "NO_COLOR": "1"}, False, "ascii")}
    assert facts["size"] == "40 × 12"
    assert facts["kind"] == "dumb, but the output goes elsewhere"
    assert facts["NO_COLOR"] == "set"


def test_memory_is_read_where_the_system_tells_it(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  16000000 kB\nMemAvailable:  500 kB\n")
    assert memory(tmp_path / "meminfo") == "16 GB, 512 kB free"
    assert memory(tmp_path / "none")
