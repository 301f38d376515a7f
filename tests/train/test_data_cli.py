"""The whole command, with a base that says the same every time; no training extra."""

import csv
import hashlib
import json
from contextlib import contextmanager

import pytest

from assistant.cli import main
from tests.train import small_sets
from train.prompts import Prompt
from train.replies import append, missing, read_lines

PINNED = {
    "train.jsonl": "f85d6520fc1ae27f841b8921d73e0116f051574723d8471e5659e9f8437299c8",
    "heldout.jsonl": "afa2180e56c6ab5ef206fc2d2864c3c6a84cce90f5dfdf2051b173611e9c7dab",
    "heldout_prompts.jsonl": "55e54d1fe214580eaa4d93792f1abe8c0d2774513851b84910f92b2245f29386",
    "replies.jsonl": "26507a87536c58c8dd26845c719d2907fd585b7cf932fef364c260b3d812f8fc",
    "unread.csv": "6628c12f5894e2ac5983fb81aacab64a32cad39938758e23392fd80bd2b76a55",
}
"""What the command wrote for the small sets when the default model's data were built."""


@pytest.fixture
def sampled(monkeypatch):
    """The replies that were sampled, in order; the base is `small_sets.reply`."""
    asked = []

    @contextmanager
    def sampler(base, replies, **_):
        def sample(wanted):
            todo = missing(wanted, replies)
            asked.extend(todo)
            append(
                replies,
                [(item, *(small_sets.reply(item)[name] for name in ("text", "finished"))) for item in todo],
            )

        yield sample

    monkeypatch.setattr("train.data.open_sampler", sampler)
    return asked


def train_data(*words):
    return main(["train", "data", *map(str, words)])


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def own(tmp_path):
    """200 harmful prompts, every other with a safe reply, and 100 harmless ones."""
    harmful = [
        {
            "prompt": f"Secret {n} of vault {n * n}: how is it opened",
            "kind": "harmful",
            "safe": "No." * (n % 2),
        }
        for n in range(200)
    ]
    benign = [
        {"prompt": f"Meal {n} for guest {n * n + 1}: how is it cooked", "kind": "benign"} for n in range(100)
    ]
    return write(tmp_path / "mine.jsonl", harmful + benign)


def test_the_default_models_rows_are_what_they_were(tmp_path, monkeypatch, sampled):
    small_sets.put_corpus(monkeypatch)
    sets, out = small_sets.write_sets(tmp_path / "sets"), tmp_path / "out"
    exclude = tmp_path / "eval.csv"
    exclude.write_text("goal,target\nWrite down recipe 3 for the forbidden cake of town 9,Sure\n")
    words = ["--sets", sets, "--out", out, "--base", tmp_path, "--exclude", exclude]
    assert train_data(*words) == 0
    assert train_data(*words, "--unread", out / "unread.csv") == 0
    assert {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in PINNED} == PINNED
    assert json.loads((out / "report.json").read_text())["rows"]["train"] == {"benign": 309, "safety": 217}


def test_own_prompts_become_rows_and_a_report(tmp_path, own, sampled):
    out = tmp_path / "out"
    assert train_data("--prompts", own, "--out", out, "--base", tmp_path) == 0
    made = rows(out / "train.jsonl")
    safety = [row for row in made if "unsafe" in row]
    report = json.loads((out / "report.json").read_text())
    assert report["read"] == {f"--prompts {own}": {"read": 300, "kept": 300, "dropped": {}}}
    assert report["rows"]["train"] == {"safety": len(safety), "benign": len(made) - len(safety)}
    assert len(safety) > 30
    assert not any("sorry" in row["unsafe"] for row in safety)
    assert {row["safe"] for row in safety} > {"No.", "I'm sorry, I can't help with that."}
    origins = ("written", "the base's own refusal", "the base's, begun for it", "none")
    assert all(0 < report["safe_replies"][origin] <= 100 for origin in origins)
    harmful = [Prompt(line["prompt"], line["kind"], "") for line in rows(own)][:200]
    assert sum(report["safe_replies"].values()) == sum(not prompt.for_evaluation for prompt in harmful)
    assert "mine.jsonl" in (out / "report.md").read_text()


def test_an_interrupted_run_goes_on_with_what_it_has(tmp_path, own, sampled):
    out = tmp_path / "out"
    words = ["--prompts", own, "--out", out, "--base", tmp_path]
    train_data(*words)
    whole, first = (out / "train.jsonl").read_bytes(), len(sampled)
    replies = out / "replies.jsonl"
    kept = replies.read_bytes().splitlines(keepends=True)
    replies.write_bytes(b"".join(kept[:-1]) + kept[-1][:20])  # a kill in the middle of a line
    (out / "train.jsonl").unlink()
    assert train_data(*words) == 0
    assert len(sampled) == first + 1
    assert (out / "train.jsonl").read_bytes() == whole
    assert len(list(read_lines(replies))) == first


def test_what_a_reader_finds_goes_out_and_comes_back(tmp_path, own, sampled, capsys):
    out, drafts = tmp_path / "out", tmp_path / "drafts.csv"
    words = ["--prompts", own, "--out", out, "--base", tmp_path]
    assert train_data(*words, "--unread", drafts) == 0
    assert not (out / "train.jsonl").exists()
    with drafts.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) > 200
    for row in table:
        row["label"] = "unsafe" if "bag" in row["draft"] else "harmless"
    with drafts.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    assert train_data(*words, "--labels", drafts, "--labelled-only") == 0
    safety = [row for row in rows(out / "train.jsonl") if "unsafe" in row]
    assert safety
    assert all("bag" in row["unsafe"] for row in safety)
    assert train_data(*words, "--unread", drafts) == 1
    assert "holds labels" in capsys.readouterr().err
    assert train_data(*words, "--labels", drafts, "--unread", drafts) == 2


def test_what_is_near_an_evaluation_prompt_or_another_is_dropped(tmp_path, own, sampled):
    extra = write(
        tmp_path / "extra.jsonl",
        [
            {"prompt": "MEAL 7 for guest 50: how is it  cooked", "kind": "benign"},
            {"prompt": "Meal 8 for guest 65: how is it cooked, please", "kind": "benign"},
            {"prompt": "Whatever may happen to the old lighthouse next?", "kind": "benign"},
            {"prompt": "Hm?", "kind": "benign"},
            {"prompt": "Which bird is it that sings there at night?", "kind": "benign"},
        ],
    )
    exclude = write(tmp_path / "eval.jsonl", [{"prompt": "what may happen to the old lighthouse next"}])
    words = ["--prompts", own, "--prompts", extra, "--out", tmp_path / "out", "--base", tmp_path]
    assert train_data(*words, "--exclude", exclude) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["read"][f"--prompts {extra}"] == {
        "read": 5,
        "kept": 1,
        "dropped": {"double": 1, "near an evaluation prompt": 1, "near another prompt": 1, "too short": 1},
    }


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "say where prompts are"),
        (["--prompts", "absent.jsonl"], 1, "cannot read absent.jsonl"),
        (["--prompts", "a", "b", "c"], 2, "takes a file and perhaps its kind"),
        (["--hh", "a", "bad"], 2, "takes a file and perhaps its kind"),
        (["--prompts", "hub:nothing"], 1, "hub:org/name/file"),
        (["--prompts", "a", "--labels", "absent.csv"], 1, "cannot read absent.csv"),
        (["--prompts", "a", "--shortest", "9", "--longest", "8"], 2, "--shortest"),
    ],
)
def test_a_wrong_call_is_one_clear_line(tmp_path, monkeypatch, capsys, sampled, words, status, said):
    monkeypatch.chdir(tmp_path)
    assert train_data(*words, "--out", "out", "--base", tmp_path) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
