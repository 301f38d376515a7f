"""Which sampler a base gets, whose replies a file holds, and the engine's replies; no training extra."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import LoadOptions
from assistant.engine.session import Session
from convert.errors import TakebackError
from tests.engine.tiny_models import write_window_model
from train import samplers
from train.engine_sampling import sample_with_engine
from train.replies import Wanted, append, missing, read_lines
from train.samplers import open_sampler, sampled_with, which

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "accelerate", "safetensors"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import train.cli, train.data, train.engine_sampling
"""


def silent(line):
    pass


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_window_model(tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.fixture
def without_torch(monkeypatch):
    real = importlib.util.find_spec
    absent = {"torch", "transformers"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else real(name))


def test_without_the_extra_a_file_goes_to_the_engine_and_a_folder_nowhere(base, without_torch):
    assert which(base, "auto") == which(base, "engine") == "engine"
    for path, how, why in (
        (base.parent, "auto", r"takeback\[train\]"),
        (base, "transformers", r"takeback\[train\]"),
        (base.parent, "engine", "GGUF files only"),
        (base.parent / "absent", "auto", "no base model"),
    ):
        with pytest.raises(TakebackError, match=why):
            which(path, how)


def test_the_command_and_the_engines_way_load_without_the_extra():
    root = Path(samplers.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr


def test_with_it_transformers_takes_what_it_can_read(base, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for reads, name in ((True, "transformers"), (False, "engine")):
        monkeypatch.setattr(samplers, "_reads", lambda path, reads=reads: reads)
        assert which(base, "auto") == name
    assert which(base.parent, "auto") == "transformers"
    assert which(base, "engine") == "engine"


def test_the_engine_samples_what_is_missing_and_the_same_again(base, tmp_path, without_torch):
    wanted = [
        Wanted("the sea", "", 0.8, 6),
        Wanted("the sea", "a sea,", 0.8, 6),
        Wanted("the sea", "", 0.0, 6, system="Say no."),
    ]
    files = [tmp_path / name / "replies.jsonl" for name in ("one", "two")]
    for path, batches in zip(files, ([wanted], [wanted[:1], wanted[1:], wanted]), strict=True):
        path.parent.mkdir()
        with open_sampler(base, path, how="auto", batch=4, seed=5, gpu_layers=0, tell=silent) as sampler:
            for batch in batches:
                sampler(batch)
    one, two = ({line["key"]: line for line in read_lines(path)} for path in files)
    assert one == two
    assert one.keys() == {item.key for item in wanted}
    assert one[wanted[1].key]["text"].startswith("a sea,")
    assert one[wanted[1].key]["text"] != "a sea,"
    assert [one[item.key].get("system") for item in wanted] == [None, None, "Say no."]
    assert sampled_with(files[0]) == ["engine"]
    with Session.open(base, LoadOptions()) as session:
        assert session.count_tokens([Message("system", "Say no."), Message("user", "the sea")])


def test_replies_of_one_base_are_not_mixed_with_anothers(base, tmp_path, without_torch):
    other = tmp_path / "other.gguf"
    other.write_bytes(base.read_bytes() + b"\0")
    replies = tmp_path / "replies.jsonl"
    (tmp_path / samplers.NOTE).write_text('{"base": "another"}')
    with (
        open_sampler(other, replies, how="auto", batch=4, seed=5, gpu_layers=0, tell=silent) as sampler,
        pytest.raises(TakebackError, match="another base's"),
    ):
        sampler([Wanted("the sea")])
    (tmp_path / samplers.NOTE).write_text("[1]")
    with pytest.raises(TakebackError, match="remove it"):
        sampled_with(replies)


class Scripted:
    """A session that fails at some prompts."""

    def __init__(self, bad):
        self.bad = bad

    def generate(self, messages, options):
        if messages[-1].content in self.bad:
            yield Error("too long")
        else:
            yield Done("stop", options.prefill + "yes", 1, 0, 0, None, None)


def test_a_prompt_that_cannot_be_asked_is_told_and_left_out(tmp_path):
    told, out = [], tmp_path / "r.jsonl"
    items = [Wanted("a"), Wanted("b", "Sure\x07,")]
    sample_with_engine(Scripted({"a"}), [items[0], Wanted("c")], out, seed=1, tell=told.append)
    assert [line["prompt"] for line in read_lines(out)] == ["c"]
    assert "left out a prompt that begins 'a'" in told[0]
    with pytest.raises(TakebackError, match="too long"):
        sample_with_engine(Scripted({"a", "b"}), items, out, seed=1, tell=told.append)
    with pytest.raises(TakebackError, match="cannot write its opening"):
        sample_with_engine(Scripted(set()), items[1:], out, seed=1, tell=told.append)


def test_lines_that_are_no_replies_are_passed_over(tmp_path):
    path = tmp_path / "r.jsonl"
    append(path, [(Wanted("a"), "said", True)])
    path.write_bytes(path.read_bytes() + b'7\n{"key": 1}\n\xff\n{"key": "cut')
    append(path, [(Wanted("b"), "said \ud800", False)])
    assert [line["prompt"] for line in read_lines(path)] == ["a", "b"]
    assert missing([Wanted("a"), Wanted("c")], path) == [Wanted("c")]
