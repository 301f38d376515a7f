"""Preference training on a small random model: its pairs, its figures, its result. Needs the extra `train`."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from peft import PeftModel  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from assistant.cli import main  # noqa: E402
from convert.convert import convert  # noqa: E402
from convert.errors import TakebackError, UsageError  # noqa: E402
from convert.gguf_header import read_header  # noqa: E402
from convert.reset_token import read_contract  # noqa: E402
from train.base import load_base  # noqa: E402
from train.dpo import train  # noqa: E402
from train.dpo_settings import DpoSettings, PairShares  # noqa: E402
from train.encode import Encoder  # noqa: E402
from train.pairs import make_pairs  # noqa: E402
from train.record import training_record, write_result  # noqa: E402
from train.rows import load_rows  # noqa: E402
from train.settings import SftSettings  # noqa: E402
from train.trainable import add_reset_token, with_adapter  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def start(tiny_base, tmp_path_factory):
    """What supervised training leaves, untrained: an adapter whose weights are not those of a fresh one."""
    out = tmp_path_factory.mktemp("sft")
    (out / "rows.jsonl").write_text('{"prompt": "a", "reply": "b"}\n')
    model, tokenizer = load_base(tiny_base)
    reset_id = add_reset_token(model, tokenizer, "[RESET]")
    torch.manual_seed(5)
    wrapped = with_adapter(model, reset_id, torch.randn(64) * 0.02, 4)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    settings = SftSettings(base=tiny_base, data=out / "rows.jsonl", out=out, rank=4, after_reset="keep")
    write_result(wrapped, tokenizer, reset_id, settings, training_record(settings, load_rows(settings.data)))
    return out


@pytest.fixture
def settings(tiny_base, start, data, tmp_path):
    return DpoSettings(
        base=tiny_base, adapter=start, data=data, heldout=data, out=tmp_path / "run", epochs=4.0, batch=4, pieces=2,
        rate=5e-3, row_rate=5e-3, threads=1, every=20, shares=PairShares(1.0, 1.0, 1.0, 1.0),
    )  # fmt: skip


def lines_of(run):
    lines = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line], [
        line["heldout"] for line in lines if "heldout" in line
    ]


def log_p(folder, base, pair):
    """log p of both sides by transformers and PEFT alone, in float32."""
    model, tokenizer = load_base(base)
    add_reset_token(model, tokenizer, "[RESET]")
    model = PeftModel.from_pretrained(model, folder)
    found = []
    for side in (pair.chosen, pair.rejected):
        ids = torch.tensor([pair.context + side])
        with torch.no_grad():
            each = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
        found.append(float(each[len(pair.context) - 1 :].sum()))
    return found


def test_a_run_raises_the_margin_and_keeps_the_chosen_side_and_converts(settings, tmp_path, monkeypatch):
    told = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(
        "trl.trainer.base_trainer.send_telemetry", lambda **_: told.append("home"), raising=False
    )
    train(settings, lambda _: None)
    assert not told
    steps, looks = lines_of(settings)
    assert abs(steps[0]["margin"]) < 0.5  # before the first step the model is its own reference, row and all
    assert steps[-1]["margin"] > 2.0
    assert steps[-1]["chosen_gain"] > 0.5
    assert all(line["chosen_gain"] > -0.1 for line in steps)  # without the second term it falls below -0.2
    assert {"accuracy", "logp_chosen", "logp_rejected"} <= set(steps[-1])
    assert looks[-1]["accuracy"] > looks[0]["accuracy"]
    assert {"margin_teach", "margin_relapse", "margin_penalise", "margin_needless", "caught"} <= set(
        looks[-1]
    )
    assert all(looks[-1][f"margin_{kind}"] > 1.0 for kind in ("teach", "relapse", "penalise", "needless"))

    tokenizer = load_base(settings.base)[1]
    reset_id = tokenizer.add_special_tokens({"additional_special_tokens": ["[RESET]"]}) and len(tokenizer) - 1
    pairs = make_pairs(
        load_rows(settings.data), Encoder(tokenizer, reset_id, 512), settings.shares, 512, settings.seed, ""
    )
    reference = load_file(settings.out / "reference.safetensors")["log_probabilities"]
    for pair, kept in list(zip(pairs, reference, strict=False))[:6]:
        before, after = log_p(settings.adapter, settings.base, pair), log_p(settings.out, settings.base, pair)
        assert kept.tolist() == pytest.approx(before, abs=0.5)
        assert after[0] - before[0] > after[1] - before[1]

    record = json.loads((settings.out / "backtrack.json").read_text())
    assert (record["method"], record["after_reset"], record["reset_token_id"]) == ("dpo", "keep", reset_id)
    assert record["training"]["pairs"].keys() == {"teach", "relapse", "penalise", "needless"}
    assert str(settings.base.parent) not in json.dumps(record)
    assert not list(settings.out.rglob("*.pt*")) + list(settings.out.rglob("*.bin"))
    convert(settings.base, tmp_path / "m.gguf", adapter=settings.out)
    contract, _ = read_contract(read_header(tmp_path / "m.gguf"))
    assert (contract.method, contract.token_id) == ("dpo", reset_id)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(settings, tmp_path):
    settings = replace(settings, epochs=2.5, heldout=None)
    train(settings, lambda _: None)
    other = replace(settings, out=tmp_path / "other")

    def interrupt(line):
        if line.startswith("step 13/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(other, interrupt)
    train(other, lambda _: None)
    one, two = (load_file(run.out / "adapter_model.safetensors") for run in (settings, other))
    first, second = lines_of(settings)[0], lines_of(other)[0]
    assert [line["step"] for line in second] == [*range(1, 14), *range(11, len(first) + 1)]
    assert second[-1]["loss"] == pytest.approx(first[-1]["loss"], abs=0.02)
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=2e-3) for name in one)
    before = load_file(settings.adapter / "adapter_model.safetensors")
    assert any((before[name] - one[name]).abs().max() > 2e-2 for name in one)


def test_a_whole_checkpoint_is_a_start(settings, tiny_base, start, tmp_path):
    model, tokenizer = load_base(tiny_base)
    reset_id = add_reset_token(model, tokenizer, "[RESET]")
    merged = PeftModel.from_pretrained(model, start).merge_and_unload()
    merged.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "backtrack.json").write_text((start / "backtrack.json").read_text())
    run = replace(settings, base=tmp_path / "whole", adapter=None, epochs=0.5, rank=2)
    train(run, lambda _: None)
    steps, _ = lines_of(run)
    assert abs(steps[0]["margin"]) < 0.5
    weights = load_file(run.out / "adapter_model.safetensors")
    (row,) = [value for name, value in weights.items() if "trainable_tokens" in name]
    assert torch.allclose(row[0].float(), merged.get_input_embeddings().weight[reset_id], atol=0.1)
    with pytest.raises(UsageError, match="name another folder"):
        train(replace(run, out=run.base), lambda _: None)
    weights = {name: value + 1 for name, value in load_file(run.base / "model.safetensors").items()}
    save_file(weights, run.base / "model.safetensors", {"format": "pt"})
    with pytest.raises(TakebackError, match="other settings or data"):  # the start is another one now
        train(run, lambda _: None)
    with pytest.raises(TakebackError, match="whole checkpoint: give it as --base"):
        train(replace(run, adapter=tmp_path / "whole", out=tmp_path / "no"), lambda _: None)


def test_bad_input_is_one_line(settings, start, tiny_base, tmp_path, capsys):
    def fails(match, kind=TakebackError, **changes):
        with pytest.raises(kind, match=match) as error:
            train(replace(settings, **changes), lambda _: None)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run" / "run.json").exists()

    fails("no supervised result", adapter=None)
    fails("no adapter's folder", adapter=tmp_path / "nowhere")
    fails("name another folder", UsageError, out=start)
    fails("cannot be computed in 3", UsageError, pieces=3)
    unlike = tmp_path / "unlike"
    config = json.loads((tiny_base / "config.json").read_text()) | {"num_hidden_layers": 1}
    unlike.mkdir()
    for file in tiny_base.iterdir():
        (unlike / file.name).write_bytes(file.read_bytes())
    (unlike / "config.json").write_text(json.dumps(config))
    fails("does not fit the base", base=unlike)
    with pytest.raises(TakebackError, match="not a number at step"):
        train(replace(settings, rate=1e30, heldout=None), lambda _: None)
    argv = [
        "train",
        "dpo",
        "--base",
        str(tiny_base),
        "--data",
        str(settings.data),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(argv) == 1
    assert "no supervised result" in capsys.readouterr().err
