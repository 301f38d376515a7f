"""What becomes of a model's file while it is in use: an error at most, and never the end of the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session
from convert.errors import TakebackError
from tests.engine.tiny_models import write_dense_model

QUESTION = [Message("user", "the sea")]
OPTIONS = GenerateOptions(seed=1, max_tokens=40)
CUT_OFF = """
import os, sys
from pathlib import Path
from assistant.engine import libllama
from tests.engine.test_model_file import OPTIONS, QUESTION, LoadOptions, Session

path, threads = Path(sys.argv[1]), int(sys.argv[2])
decode, decoded = libllama.c.llama_decode, []

def cut_off(context, batch):
    decoded.append(1)
    if len(decoded) == 10:
        os.truncate(path, 4096)  # after the look at the file, as llama.cpp begins to read it
    return decode(context, batch)

with Session.open(path, LoadOptions(ctx=256, threads=threads)) as session:
    libllama.c.llama_decode = cut_off
    for _ in range(2):
        *_, last = session.generate(QUESTION, OPTIONS)
        print(type(last).__name__, len(decoded), last.message)
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return write_dense_model(tmp_path / "tiny.gguf")


def last_event(session):
    return list(session.generate(QUESTION, OPTIONS))[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="a file in use cannot be removed")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_or_replaced_file_does_no_harm(path, replaced) -> None:
    with Session.open(path, LoadOptions(ctx=256, threads=1)) as session:
        before = last_event(session)
        path.unlink()
        if replaced:
            path.write_bytes(b"another")
        session.memory.forget()
        after = last_event(session)
    assert isinstance(after, Done) and after.ids == before.ids


def test_a_file_that_was_written_over_is_told_and_not_read_as_weights(path) -> None:
    with Session.open(path, LoadOptions(ctx=256, threads=1)) as session:
        with path.open("r+b") as file:
            file.seek(-4096, os.SEEK_END)
            file.write(bytes(4096))
        os.utime(path, ns=(1, 1))
        for _ in range(2):
            told = last_event(session)
            assert isinstance(told, Error) and "changed or lost while it was in use" in told.message
            assert str(path) in told.message and "\n" not in told.message


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the process ends; the chats are on the disk")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_is_cut_off_within_a_decode_does_not_end_the_program(path, threads) -> None:
    command = [sys.executable, "-c", CUT_OFF, str(path), str(threads)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    told = [line.split(maxsplit=2) for line in ended.stdout.splitlines()]
    assert [words[:2] for words in told] == [["Error", "10"]] * 2, "the second reply is not even begun"
    assert all("changed or lost while it was in use; start takeback again" in words[2] for words in told)


@pytest.mark.skipif(sys.platform != "linux", reason="no such handler elsewhere")
def test_other_pages_that_cannot_be_read_end_the_process_as_ever(path) -> None:
    script = (
        "import os, mmap, sys\nfrom pathlib import Path\nfrom assistant.engine.libllama import Model\n"
        "model = Model(Path(sys.argv[1]))\nother = Path(sys.argv[1]).with_name('other')\n"
        "other.write_bytes(bytes(8192))\n"
        "with other.open('r+b') as file:\n    mapped = mmap.mmap(file.fileno(), 0)\n"
        "os.truncate(other, 0)\nprint(mapped[5000])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, timeout=300, check=False
    )
    assert ended.returncode == -7 and ended.stdout == b""


def test_a_file_that_is_not_there_is_one_line(tmp_path) -> None:
    with pytest.raises(TakebackError, match=r"none\.gguf: cannot be read: No such file"):
        Session.open(tmp_path / "none.gguf")
