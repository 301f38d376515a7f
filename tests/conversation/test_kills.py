"""Two hundred kills at random moments of replies: at most the last second of one is lost, and nothing else."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.conversation.recording import SECONDS_BETWEEN_WRITES

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")]

ROOT = Path(__file__).parents[2]
PATIENCE = 120
SOURCE = [sys.executable, "-m", "tests.conversation.kill_server"]


class Server:
    """The warm process that others are forked from."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(SOURCE, stdin=-1, stdout=-1, text=True, cwd=ROOT)
        self._one_at_a_time = threading.Lock()
        self._answer()

    def start(self, **asked) -> int:
        assert self.process.stdin is not None
        with self._one_at_a_time:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            return int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.process.communicate("", timeout=PATIENCE)


@dataclass
class Shown:
    """What a reader had seen of a reply when its process was killed."""

    text: str = ""
    drafts: list[str] = field(default_factory=list)
    over: bool = False
    just_taken_back: bool = False
    seen: list[tuple[float, int]] = field(default_factory=list)
    """When how many characters of the text were there."""
    longest_step: float = 0.0
    """The longest time between two events lately, or from the last one to the kill, in seconds."""


def read(log: Path, killed: float) -> Shown:
    shown = Shown()
    times = []
    for line in log.read_text().splitlines() if log.exists() else []:
        when, kind, text = json.loads(line)
        times.append(when)
        shown.just_taken_back = kind == "Reset"
        if kind == "Text":
            shown.text += text
            shown.seen.append((when, len(shown.text)))
        elif kind == "Reset":
            shown.drafts.append(shown.text)
            shown.text, shown.seen = "", []
        else:
            shown.over = True
    steps = [b - a for a, b in zip(times, [*times[1:], killed], strict=True) if b > killed - 3]
    shown.longest_step = max(steps, default=0.0)
    return shown


def lost(shown: Shown, stored: str, killed: float) -> float:
    """For how many seconds the oldest character that is not stored had been shown; 0 where all is."""
    return max((killed - when for when, count in shown.seen if count > len(stored)), default=0.0)


def kill_one(server: Server, folder: Path, seed: int, *, real: bool) -> float:
    """Kill a reply at a random moment, look at what is stored, and return for how long what is lost was shown."""
    database, log = folder / "history.db", folder / f"{seed}.log"
    before = said(database)
    child = server.start(database=str(database), log=str(log), seed=seed, real=real)
    wait_for(lambda: log.exists() and log.stat().st_size > 0)
    time.sleep(random.Random(seed).uniform(0, 2.2))
    killed = time.monotonic()
    with suppress(ProcessLookupError):  # it was over
        os.kill(child, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{child}").exists())
    shown = read(log, killed)

    after = said(database)
    *rest, question, reply = after
    assert rest[: len(before)] == before
    assert question[1] == f"question {seed}: tell me a long story"
    role, text, reason = reply
    assert role == "assistant"
    assert reason == ("stop" if shown.over and reason == "stop" else "killed")
    if shown.just_taken_back and shown.drafts[-1].startswith(text):
        return 0.0  # killed in between: the reader saw it go, the store had not been told yet
    assert shown.text.startswith(text)
    for draft in shown.drafts:
        words = draft.split()[:1]
        for file in folder.glob("history.db*"):
            assert not any(word.encode() in file.read_bytes() for word in words), "a draft is still there"
    loss = lost(shown, text, killed)
    assert loss <= SECONDS_BETWEEN_WRITES + 2 * shown.longest_step + 0.05
    return loss


def said(database: Path) -> list[tuple[str, str, str]]:
    """What a new start finds: it marks what was left unfinished."""
    with History(database) as history:
        entries = [entry for chat in sorted(c.id for c in history.chats()) for entry in history.entries(chat)]
        assert all(entry.state in ("settled", "unfinished") for entry in entries)
    return [(entry.role, entry.text, entry.reason) for entry in entries]


def wait_for(so) -> None:
    end = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("real", "stores", "kills"), [(False, 10, 15), (True, 1, 38)], ids=["played", "real"]
)
def test_a_kill_loses_at_most_the_last_second(
    server, tmp_path: Path, real: bool, stores: int, kills: int
) -> None:
    def work(store: int) -> list[float]:
        folder = tmp_path / str(store)
        folder.mkdir()
        return [kill_one(server, folder, 1000 * store + number, real=real) for number in range(kills)]

    with ThreadPoolExecutor(stores) as pool:
        losses = [loss for found in pool.map(work, range(stores)) for loss in found]
    print(
        f"{len(losses)} kills; lost: median {sorted(losses)[len(losses) // 2]:.2f} s, most {max(losses):.2f} s"
    )
    assert len(losses) == stores * kills
    assert max(losses) > 0.2, "they were killed while they wrote"


def test_the_program_itself_is_killed(tmp_path: Path) -> None:
    environment = os.environ | {"TAKEBACK_HOME": str(tmp_path)}
    database = tmp_path / "history.db"
    with_text = 0
    for number in range(12):
        before = said(database)
        question = f"Question {number}: tell me a long story about the sea."
        with subprocess.Popen(
            [sys.executable, "-m", "assistant.cli", "--plain", "--threads", "1"],
            stdin=-1, stdout=subprocess.DEVNULL, stderr=-1, text=True, env=environment,
        ) as child:  # fmt: skip
            assert child.stdin is not None
            assert child.stderr is not None
            child.stdin.write(f"{question}\n")
            child.stdin.flush()
            wait_for(lambda: "The model is" in child.stderr.readline())
            time.sleep(random.Random(number).uniform(0, 4))
            child.kill()
        after = said(database)
        assert after[: len(before)] == before
        assert after[len(before)] == ("user", question, "")
        for role, text, reason in after[len(before) + 1 :]:  # none where the reply was not begun
            assert (role, reason) == ("assistant", "killed")
            with_text += bool(text)
    assert with_text > 3
