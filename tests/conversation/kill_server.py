"""Has replies written in processes that are there at once: it is warm, and forks one for each line that it reads.

A line is JSON: the database, a log, a seed, and whether the model is the real one or played. The answer is the
new process's id. That one says something and has it answered, by the code of the chat itself.
Its log has, for each event, when it was shown and what: what a reader would have seen, to the millisecond.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from assistant.conversation.history import History
from assistant.conversation.model_thread import ModelThread
from assistant.conversation.reports import Recorded, Replied, Request
from assistant.engine.events import Done, Reset, Text
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session
from assistant.models.bundled import base_model

SECONDS = 5.0


class Played:
    """Says numbered words, which name their draft, and takes them back now and then."""

    def __init__(self, seed: int) -> None:
        self.info = SimpleNamespace(
            name="Played", context_length=9_000, contract=object(), note=None, vocab_sha256="v"
        )
        self.held = 0
        self._random = random.Random(seed)
        self._seed = seed

    def generate(self, messages, options=None):
        end, said, draft, resets = time.monotonic() + SECONDS, "", 0, 0
        while time.monotonic() < end:
            time.sleep(self._random.uniform(0.002, 0.05))
            if said and self._random.random() < 0.01:
                yield Reset(9, len(said), 0, 1.0)
                said, draft, resets = "", draft + 1, resets + 1
                continue
            word = f"draft-{self._seed}-{draft}-{len(said)} "
            said += word
            yield Text(word)
        yield Done("stop", said, 9, 0, resets, None, None)

    def count_tokens(self, messages) -> int:
        return len(messages)

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def answer(model, asked: dict) -> None:
    """Say something and have it answered, until the process is killed or the reply is over."""
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    over = threading.Event()

    def report(told) -> None:
        if isinstance(told, Replied) and isinstance(told.event, Text | Reset | Done):
            kind = type(told.event).__name__
            text = told.event.text if isinstance(told.event, Text) else ""
            os.write(log, (json.dumps([time.monotonic(), kind, text]) + "\n").encode())
        elif isinstance(told, Recorded):
            over.set()

    history = History(Path(asked["database"]))
    question = f"question {asked['seed']}: tell me a long story"
    chats = (
        [] if asked["real"] else history.chats(1)
    )  # a real one would have to read all that was said before
    if chats:
        chat = chats[0].id
        history.say(chat, question)
    else:
        chat, _ = history.new_chat(question)
    thread = ModelThread(lambda progress: model, report, GenerateOptions(seed=asked["seed"], hold_back=2))
    thread.start(history)
    thread.submit(Request(chat))
    over.wait()
    history.close()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    real = None
    print("warm", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["real"] and real is None:
            real = Session.open(base_model(), LoadOptions(ctx=1024, threads=1))
        child = os.fork()
        if not child:
            answer(real if asked["real"] else Played(asked["seed"]), asked)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
