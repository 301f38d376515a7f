"""Runs in their variants: all weights, low rank, chat, early ends, several processes. Needs the extra `train`."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from assistant.cli import main  # noqa: E402
from assistant.locks import only_writer  # noqa: E402
from convert.adapter import open_adapter  # noqa: E402
from convert.errors import TakebackError, UsageError  # noqa: E402
from train.base import load_base  # noqa: E402
from train.checkpoint import Log  # noqa: E402
from train.low_rank import as_adapter, truncated  # noqa: E402
from train.settings import SftSettings  # noqa: E402
from train.sft import _fingerprint, train  # noqa: E402
from train.trainable import add_reset_token, whole  # noqa: E402
from train.whole_tensors import read_tensors, write_tensors  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tiny_base, data, tmp_path):
    return SftSettings(
        base=tiny_base, data=data, heldout=data, out=tmp_path / "run", steps=4, every=2, rank=4, threads=1,
        batch_tokens=256, rate=1e-3, row_rate=1e-3,
    )  # fmt: skip


def record_of(settings):
    return json.loads((settings.out / "backtrack.json").read_text())


def test_a_truncated_decomposition_keeps_what_it_says():
    torch.manual_seed(0)
    matrix = torch.randn(30, 3) @ torch.randn(3, 20) + 0.1 * torch.randn(30, 20)
    b, a, share = truncated(matrix, 3)
    lost = float((matrix - b @ a).norm() / matrix.norm())
    assert share == pytest.approx((1 - lost**2) ** 0.5, abs=1e-5)
    assert share > 0.98
    assert truncated(matrix, 2)[2] < share
    b, a, share = truncated(matrix, 32)
    assert (b.shape, a.shape, share) == ((30, 32), (32, 20), pytest.approx(1.0))
    assert torch.allclose(b @ a, matrix, atol=1e-4)
    assert truncated(torch.zeros(4, 4), 2)[2] == 1.0


@pytest.mark.parametrize("tied", [True, False])
def test_of_all_weights_what_an_adapter_can_hold_is_stored_without_loss_at_full_rank(tiny_model, tied):
    folder = tiny_model("Llama", tie_word_embeddings=tied)
    base, tokenizer = load_base(folder)
    reset_id = add_reset_token(base, tokenizer, "[RESET]")
    model, _ = load_base(folder)
    model.resize_token_embeddings(reset_id + 1, mean_resizing=False)
    trained = whole(model, reset_id, torch.randn(64), linear_only=True)
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-2)
    ids = torch.tensor([[3, 5, reset_id, 7]])
    for _ in range(3):
        trained(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapter, kept = as_adapter(trained, base, reset_id, 64)
    assert len(kept) == 14
    assert min(kept.values()) == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(adapter(ids).logits, trained(ids).logits, atol=1e-3)


def test_all_weights_at_a_low_rank_are_an_adapter_that_convert_reads(settings):
    settings = replace(settings, full=True, store_rank=3)
    said = []
    train(settings, said.append)
    kept = record_of(settings)["training"]["kept"]
    assert len(kept) == 14
    assert all(0.3 < share <= 1 for share in kept.values())
    assert sum("of the difference's norm kept" in line for line in said) == 14
    with open_adapter(settings.out) as adapter:
        assert set(adapter.loras) == set(kept)
        assert list(adapter.rows) == ["model.embed_tokens.weight"]


def test_all_weights_are_a_checkpoint_where_only_what_was_trained_differs(settings):
    settings = replace(settings, full=True)
    train(settings, lambda _: None)
    base, model = (AutoModelForCausalLM.from_pretrained(path) for path in (settings.base, settings.out))
    record = record_of(settings)
    assert model.config.vocab_size == record["reset_token_id"] + 1
    before, after = base.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    norm = "model.layers.0.input_layernorm.weight"
    assert all(
        not torch.equal(before[name][:60].bfloat16(), after[name][:60].bfloat16())
        for name in before
        if name != norm
    )
    assert {value.dtype for value in load_file(settings.out / "model.safetensors").values()} == {
        torch.bfloat16
    }
    assert (
        AutoTokenizer.from_pretrained(settings.out).convert_tokens_to_ids("[RESET]")
        == record["reset_token_id"]
    )
    assert not list(settings.out.rglob("*.part"))


@pytest.mark.parametrize("full", [False, True])
def test_a_killed_run_ends_where_another_does_whatever_its_variant(settings, tmp_path, data, full):
    settings = replace(
        settings,
        full=full,
        prefixes="sampled",
        chat=chat_of(data),
        patience=3,
        save_every=1,
        benign_limit=1.0,
    )
    train(settings, lambda _: None)
    other = replace(settings, out=tmp_path / "other")

    def interrupt(line):
        if line.startswith("step 4/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(other, interrupt)
    train(other, lambda _: None)
    name = "model.safetensors" if full else "adapter_model.safetensors"
    one, two = (load_file(run.out / name) for run in (settings, other))
    assert all(torch.allclose(one[key].float(), two[key].float(), atol=1e-6) for key in one)
    assert record_of(settings)["training"]["step"] == record_of(other)["training"]["step"]


def chat_of(data):
    path = data.with_name("chat.jsonl")
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    rows = [{"prompt": "hello", "reply": "Hello, you."}, {"messages": turns, "reply": "So it is."}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_run_ends_early_with_the_weights_of_its_best_look(settings, monkeypatch):
    seen = iter([0.1, 0.5, 0.9, 0.9, 0.2, 0.3])
    monkeypatch.setattr(
        "train.loop.measure",
        lambda *_, **__: {"p_reset_benign": 0.0, "caught": next(seen), "p_reset_unsafe": 0.5},
    )
    settings = replace(settings, steps=40, every=1, patience=2)
    said = []
    train(settings, said.append)
    told = record_of(settings)["training"]
    assert told["step"] == 2
    assert told["ended"] == "no more drafts caught than at step 2 for 2 looks"
    assert "ends at step 4: " + told["ended"] in said
    best = load_file(settings.out / "best.safetensors")
    (name,) = [name for name in best if "trainable_tokens" in name]
    stored = load_file(settings.out / "adapter_model.safetensors")
    (row,) = [value for name, value in stored.items() if "trainable_tokens" in name]
    assert torch.equal(best[name].bfloat16(), row)
    train(settings, said.append)  # the run is over, and stays so
    assert record_of(settings)["training"] == told


def test_a_run_of_before_can_be_finished(settings):
    """Settings that runs did not always have, and what a checkpoint told then."""
    told = json.loads(_fingerprint(settings))
    assert set(told) == {
        "base", "data", "out", "heldout", "reset_token", "steps", "rate", "row_rate", "warmup", "rank",
        "batch_tokens", "pieces", "max_length", "seed", "threads", "every", "after_reset", "shares", "weights",
    }  # fmt: skip
    assert _fingerprint(replace(settings, save_every=3)) == _fingerprint(settings)
    for more in ({"full": True}, {"prefixes": "sampled"}, {"patience": 1}, {"chat": settings.data}):
        assert _fingerprint(replace(settings, **more)) != _fingerprint(settings)

    def interrupt(line):
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(settings, save_every=2), interrupt)
    state = settings.out / "state.safetensors"
    save_file(load_file(state), state, metadata={"step": "2"})
    train(settings, lambda _: None)
    assert record_of(settings)["training"]["step"] == 4


def test_two_runs_never_write_into_one_folder_nor_one_over_its_base(settings):
    before = {path: path.read_bytes() for path in settings.base.iterdir()}
    with pytest.raises(UsageError, match="name another folder"):
        train(replace(settings, out=settings.base, full=True), lambda _: None)
    assert {path: path.read_bytes() for path in settings.base.iterdir()} == before
    with only_writer(settings.out), pytest.raises(TakebackError, match="another run writes there"):
        train(settings, lambda _: None)
    assert not list(settings.out.glob("*.safetensors"))


def test_data_that_is_gone_by_the_end_costs_no_run(settings):
    held = settings.data.read_bytes()

    def lose(line):
        if line.startswith("step 1/"):
            settings.data.unlink()

    train(settings, lose)
    assert record_of(settings)["training"]["data_sha256"] == sha256(held).hexdigest()
    with open_adapter(settings.out) as adapter:
        assert adapter.rows


def test_a_log_that_cannot_be_written_is_one_clear_line(tmp_path):
    with pytest.raises(TakebackError, match="cannot be written"):
        Log(tmp_path / "absent" / "log.jsonl", active=True).write(1, {}, lambda _: None)


def test_tensors_are_whole_or_not_there(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.ones(2, 3).T}, {"step": "1"})
    with pytest.raises(TakebackError, match="cannot be written"):
        write_tensors(tmp_path / "absent" / "a.safetensors", {"x": torch.ones(2)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    assert read_tensors(path)["x"].shape == (3, 2)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(TakebackError, match="delete it to begin"):
        read_tensors(path)


BAD = [
    (["--store-rank", "4"], "is for --full"),
    (["--chat", "{data}"], 'rows with "unsafe" belong into --data'),
    (["--chat-share", "1"], "below 1"),
    (["--patience", "2"], "--patience needs --heldout"),
    (["--max-length", "9"], "leaves no room for a reply"),
    (["--chat", "absent.jsonl"], "cannot read"),
]


@pytest.mark.parametrize(("more", "why"), BAD)
def test_bad_input_is_one_clear_line(tiny_base, data, tmp_path, capsys, more, why):
    more = [part.format(data=data) for part in more]
    plain = ["--base", str(tiny_base), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(["train", "sft", *plain, *more]) in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if "takeback: error:" in line]
    assert len(lines) == 1
    assert why in lines[0]


def test_two_processes_train_what_one_does(settings, tmp_path):
    """Two take one piece of a step each, which one takes after the other; gloo carries the gradients."""
    plain = [
        "--base",
        settings.base,
        "--data",
        settings.data,
        "--heldout",
        settings.data,
        "--rank",
        4,
        "--every",
        1,
    ]
    plain += [
        "--steps",
        2,
        "--rate",
        1e-3,
        "--row-rate",
        1e-3,
        "--threads",
        1,
        "--patience",
        9,
        "--benign-limit",
        0.99,
    ]
    one = ["--out", tmp_path / "one", "--pieces", 2, "--batch-tokens", 512]
    two = ["--out", tmp_path / "two", "--pieces", 1, "--batch-tokens", 256]
    assert main([str(part) for part in ("train", "sft", *plain, *one)]) == 0
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += [
        "--dynamo_backend",
        "no",
        "--mixed_precision",
        "bf16",
        "--main_process_port",
        "0",
        "-m",
        "assistant.cli",
    ]
    ran = subprocess.run(
        [str(part) for part in (*launch, "train", "sft", *plain, *two)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stderr.count("done: the adapter of step") == 1
    alone, shared = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert alone.keys() == shared.keys()
    # The second sides begin at zero, so that they are what was learnt, and Adam's first steps are all of one size.
    learnt = [
        torch.cat([value.float().flatten() for name, value in run.items() if "lora_B" in name])
        for run in (alone, shared)
    ]
    assert float(torch.cosine_similarity(*learnt, dim=0)) > 0.98
    with safe_open(tmp_path / "two" / "state.safetensors", "pt") as state:
        assert state.metadata()["step"] == "2"
