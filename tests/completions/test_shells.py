"""The Tab key in real shells, with real chats and models."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.conversation.history import History

ROOT = Path(__file__).parent.parent.parent

BASH = """
source <(takeback completions bash)
complete -p takeback
COMP_WORDS=(takeback "$@") COMP_CWORD=$#
_takeback
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { print -r -- "compdef $*" }
_describe() { print -rl -- ${(P)2} }
_files() { print -r -- "files $*" }
source <(takeback completions zsh)
words=(takeback "$@") CURRENT=$(($# + 1))
_takeback
"""
FISH = "takeback completions fish | source; complete -C $argv[1]"


@pytest.fixture
def shell(tmp_path: Path):
    """Runs a script in a shell where `takeback` is this one, with two chats and a model."""
    command = tmp_path / "bin" / "takeback"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m assistant.cli "$@"\n')
    command.chmod(0o755)
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / "small.gguf").write_bytes(b"GGUF")
    with History(home / "history.db") as history:
        for words in ("Oranges: round?", "$(touch harm) * and pears"):
            history.new_chat(words)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a file.md").touch()
    (folder / "folder").mkdir()
    environment = os.environ | {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TAKEBACK_HOME": str(home),
        "HOME": str(home),
    }

    def run(*words: str) -> list[str]:
        if shutil.which(words[0]) is None:
            pytest.skip(f"no {words[0]} here")
        done = subprocess.run(
            words, capture_output=True, text=True, env=environment, cwd=folder, timeout=120, check=False
        )
        assert not done.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["a file.md", "folder"], "a title was run"
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["mod"], ["models"]),
        (["chats", "re"], ["rename"]),
        (["chats", "show", ""], ["2", "1"]),
        (["models", "remove", "s"], ["small"]),
        (["ask", "--after-reset", "r"], ["rewind"]),
        (["ask", "--after-reset", "=", "r"], ["rewind"]),
        (["--pl"], ["--plain"]),
        (["--model", ""], ["default", "small", "a file.md", "folder"]),
        (["ask", "--messages", "a"], ["a file.md"]),
        (["convert", "x", "--adapter", ""], ["folder"]),
        (["completions", ""], ["bash", "zsh", "fish"]),
        (["no-such-command", "x"], []),
    ],
)
def test_bash(shell, line: list[str], offered: list[str]) -> None:
    registered, *found = shell("bash", "-c", BASH, "bash", *line)
    assert registered == "complete -F _takeback takeback"
    assert [word for word in found if word] == offered


def test_zsh(shell) -> None:
    registered, *found = shell("zsh", "-f", "-c", ZSH, "zsh", "chats", "show", "")
    assert registered == "compdef _takeback takeback"
    assert found == ["2:$(touch harm) * and pears", "1:Oranges: round?"]
    assert shell("zsh", "-f", "-c", ZSH, "zsh", "ask", "--messages", "")[1:] == ["files "]
    assert shell("zsh", "-f", "-c", ZSH, "zsh", "convert", "x", "--adapter", "")[1:] == ["files -/"]


def test_fish(shell) -> None:
    assert shell("fish", "-c", FISH, "takeback chats show ") == [
        "1\tOranges: round?",
        "2\t$(touch harm) * and pears",
    ]
    assert shell("fish", "-c", FISH, "takeback ask --messages a") == ["a file.md"]
    (folder,) = shell("fish", "-c", FISH, "takeback convert x --adapter ")
    assert folder.partition("\t")[0] == "folder/"
