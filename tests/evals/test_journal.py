import io
import json
import os
import signal
import subprocess
import sys

import pytest

from convert.errors import TakebackError
from evals.journal import Journal
from evals.progress import ProgressLine

WRITER = """
import sys
from pathlib import Path
from evals.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    number = 0
    while True:
        journal.add(f"k{number}", {"text": "x" * 200})
        print(number, flush=True)
        number += 1
"""


def test_lines_are_found_again(tmp_path):
    path = tmp_path / "new" / "replies.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"text": "é\u2028\n"})
        journal.add("b", {"text": "\ud800"})
    with Journal(path) as journal:
        assert journal.lines["a"] == {"key": "a", "text": "é\u2028\n"}
        assert set(journal.lines) == {"a", "b"}


def test_half_a_line_is_cut_off_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "replies.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"n": 1})
        journal.add("b", {"n": 2})
    path.write_bytes(path.read_bytes()[:-5])
    with Journal(path) as journal:
        assert set(journal.lines) == {"a"}
        journal.add("b", {"n": 3})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_full_disk_is_one_clear_line_and_costs_no_line_before(tmp_path):
    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(data[:9])

        def flush(self):
            raise OSError(28, "No space left on device")

        def close(self):
            self.file.close()
            raise OSError(28, "No space left on device")

    path = tmp_path / "replies.jsonl"
    with pytest.raises(TakebackError, match="cannot be written: No space"), Journal(path) as journal:
        journal.add("a", {"n": 1})
        journal._file = Full(journal._file)
        journal.add("b", {"n": 2})
    with Journal(path) as journal:
        assert set(journal.lines) == {"a"}


@pytest.mark.parametrize("line", ["{", "[]", "3", "null", '{"text": "no key"}'])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "replies.jsonl"
    path.write_text(f'{{"key": "a"}}\n{line}\n{{"key": "b"}}\n')
    with pytest.raises(TakebackError, match="line 2: "):
        Journal(path)


def test_a_place_that_cannot_be_written_to_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TakebackError, match="cannot be written"):
        Journal(tmp_path / "file" / "replies.jsonl")


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_was_added_survives_a_kill(tmp_path):
    path = tmp_path / "replies.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    told = [writer.stdout.readline().strip() for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with Journal(path) as journal:
        assert {f"k{number}" for number in told} <= set(journal.lines)


def test_progress_in_a_pipe_is_lines_and_tells_the_time_left():
    stream = io.StringIO()
    line = ProgressLine(stream)
    line("model: 4 replies", 0, 400)
    line("model: 4 replies", 100, 400)  # too soon for another line
    line("model: 4 replies", 400, 400)
    line("base\x1b[31m", 0, 0)
    line.finish()
    assert stream.getvalue() == "model: 4 replies: 0 %\nmodel: 4 replies: 100 %\nbase\ufffd[31m\n"


def test_progress_on_a_terminal_is_one_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    line = ProgressLine(stream)
    line("model", 0, 10)
    line._shown = line._started = line._started - 30  # half a minute ago
    line("model", 2, 10)
    line.finish()
    assert stream.getvalue().count("\n") == 1
    assert "20 %, 2 min left" in stream.getvalue()
