"""The machine's own faults: a full disk, a home that cannot be written, too little memory, signals, two at once.

What the chat makes of signals is in tests/tui/test_signals.py, of a model that fails in tests/tui/test_failures.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.models.bundled import base_model
from tests.engine.tiny_models import write_dense_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="made with Linux's own means")

SECONDS = 300
SMALL_DISK = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"']
"""Runs a command that sees a disk of its own, with these options and at this place; no rights are needed."""

FILL = """
import sys
from pathlib import Path
from assistant.conversation.history import History
from convert.errors import TakebackError

home = Path(sys.argv[1])
with History(home / "history.db") as history:
    chat, _ = history.new_chat("said before the disk was full")
    reply = history.begin(chat)
    history.grow(reply, "shown before")
    filler = home / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    for attempt in (lambda: history.say(chat, "x" * 9_000), lambda: history.grow(reply, "y" * 90_000)):
        try:
            attempt()
            print("stored?")
        except TakebackError as error:
            print(error)
    filler.unlink()
    history.settle(reply, "shown before, and after", reason="stop")
    history.say(chat, "said after")
with History(home / "history.db") as history:
    print([entry.text for entry in history.entries(chat)])
"""

TOO_LARGE = """
import resource, sys
from pathlib import Path
from assistant.engine.libllama import Context, Model
from convert.errors import TakebackError

model = Model(Path(sys.argv[1]))
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()  # more with more cores
resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 30), taken + (1 << 30)))
for tokens in (20_000_000, 64):
    try:
        Context(model, n_ctx=tokens, threads=1, chunk=32).decode([1])
        print("read")
    except TakebackError as error:
        print(error)
"""

WRITE_CHATS = """
import sys
from pathlib import Path
from assistant.conversation.history import History

with History(Path(sys.argv[1])) as history:
    for number in range(25):
        chat, _ = history.new_chat(f"{sys.argv[2]} {number}")
        reply = history.begin(chat)
        history.grow(reply, "half")
        history.take_back(reply)
        history.settle(reply, f"whole {number}", reason="stop")
"""


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_dense_model(tmp_path / "tiny.gguf")


def takeback(*words, home, **options):
    environment = os.environ | {"TAKEBACK_HOME": str(home), "TAKEBACK_THREADS": "1"}
    return {"args": [sys.executable, "-m", "assistant.cli", *map(str, words)], "env": environment, **options}


def run(command, **options):
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
    return subprocess.run(**(command | options), text=True, timeout=SECONDS, check=False)


def on_small_disk(command, home, options):
    """The command with a disk of its own at `home`; skips where the system does not let us have one."""
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    home.mkdir(exist_ok=True)
    prefix = [*SMALL_DISK, options, str(home)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a user mount anything")
    return {**command, "args": [*prefix, *command["args"]]}


@pytest.mark.parametrize(
    "words",
    [["ask", "the sea"], ["ask", "the sea", "--json"], ["ask", "the sea", "--stream"], ["chats"]],
    ids=" ".join,
)
def test_output_on_a_full_disk_is_one_line(tiny, tmp_path, words) -> None:
    with History(tmp_path / "history.db") as history:
        history.new_chat("a title to write")
    chosen = ["--model", tiny, "--max-tokens", "5", "--reset-token", "[NONE]"] if words[0] == "ask" else []
    with Path("/dev/full").open("w") as full:
        ended = run(takeback(*words, *chosen, home=tmp_path), stdout=full)
    *notes, last = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert last == "takeback: error: the output cannot be written: No space left on device; make room for it"
    assert all(note.startswith("takeback: ") for note in notes)


def test_chats_on_a_full_disk_are_one_line_each_and_nothing_is_lost(tmp_path) -> None:
    command = {"args": [sys.executable, "-c", FILL, str(tmp_path / "home")]}
    ended = run(on_small_disk(command, tmp_path / "home", "size=512k"))
    assert ended.returncode == 0, ended.stderr
    *told, stored = ended.stdout.splitlines()
    full = f"the chats in {tmp_path}/home/history.db: the disk is full; free some space and try again"
    assert told == [full, full]
    assert stored == "['said before the disk was full', 'shown before, and after', 'said after']"


def test_a_home_that_cannot_be_written(tiny, tmp_path) -> None:
    """Asking a file needs no home; what does need one is one line that says what to do."""

    def ended(*words):
        home = tmp_path / "home"
        return run(on_small_disk(takeback(*words, home=home), home, "ro"))

    asked = ended("ask", "the sea", "--model", tiny, "--max-tokens", "5")
    assert asked.returncode == 0 and asked.stdout, asked.stderr
    for words, says in ((["chats"], "the chats in "), (["ask", "Hi"], "cannot build the default model in ")):
        failed = ended(*words)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.startswith(f"takeback: error: {says}") and failed.stderr.count("\n") == 1
        assert "TAKEBACK_HOME" in failed.stderr, "what to do"
    assert ended("models").returncode == 0


def test_a_context_that_there_is_no_memory_for_is_one_line_and_a_smaller_one_works(tiny) -> None:
    ended = run({"args": [sys.executable, "-c", TOO_LARGE, str(tiny)]})
    assert ended.returncode == 0, ended.stderr
    told, after = ended.stdout.splitlines()
    assert told.startswith("not enough memory for a context of 20,000,000 tokens (")
    assert told.endswith("; lower --ctx") and after == "read"


def test_two_processes_write_chats_at_once_and_none_is_lost(tmp_path) -> None:
    path = tmp_path / "history.db"
    commands = [[sys.executable, "-c", WRITE_CHATS, str(path), name] for name in ("one", "other")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    assert [(child.communicate(timeout=SECONDS)[1], child.returncode) for child in both] == [(b"", 0)] * 2
    with History(path) as history:
        chats = {chat.title: history.entries(chat.id) for chat in history.chats()}
    assert set(chats) == {f"{name} {number}" for name in ("one", "other") for number in range(25)}
    for title, entries in chats.items():
        assert [entry.text for entry in entries] == [title, f"whole {title.split()[1]}"]


def events_of_a_long_reply(tmp_path, *signals):
    """The events of a reply that these signals come to, half a second apart, and the process."""
    words = (
        "ask",
        "Tell a long story.",
        "--json",
        "--seed",
        "1",
        "--max-tokens",
        "40",
        "--model",
        base_model(),
    )
    command = takeback(*words, home=tmp_path, stdin=subprocess.DEVNULL, text=True)
    with subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        events = [json.loads(child.stdout.readline())]
        for number in signals:
            child.send_signal(number)
            time.sleep(0.5)
        events += map(json.loads, child.stdout)
        said = child.stderr.read()
    assert "Traceback" not in said
    return events, child.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_ask_in_order(tmp_path, number) -> None:
    events, status = events_of_a_long_reply(tmp_path, number)
    assert status == 128 + number
    assert events[0]["event"] == "start" and all(event["event"] != "error" for event in events)


@pytest.mark.slow
def test_ask_goes_on_after_it_was_suspended(tmp_path) -> None:
    through = events_of_a_long_reply(tmp_path)
    suspended = events_of_a_long_reply(tmp_path, signal.SIGTSTP, signal.SIGCONT)
    assert suspended[1] == through[1] == 0
    assert suspended[0][-1]["text"] == through[0][-1]["text"] and suspended[0][-1]["reason"] == "length"
