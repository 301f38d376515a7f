"""The objective and the loop on a small random model. Needs the extra `train`."""

import json
import random
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import PeftModel  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.nn import functional  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from convert.errors import TakebackError, UsageError  # noqa: E402
from train.base import load_base  # noqa: E402
from train.encode import KEPT_OPENING_WEIGHT, OPENING, OPENING_WEIGHT, RAMP, Encoder  # noqa: E402
from train.head import CHUNK, HeadLoss  # noqa: E402
from train.objective import Objective, collate  # noqa: E402
from train.probe import fit_row  # noqa: E402
from train.rows import load_rows  # noqa: E402
from train.settings import LossWeights, SftSettings  # noqa: E402
from train.sft import add_reset_token, train, with_adapter  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tiny_base, data, tmp_path):
    return SftSettings(
        base=tiny_base, data=data, heldout=data, out=tmp_path / "run", steps=6, every=3, rank=4, threads=1,
        batch_tokens=256, rate=5e-3, row_rate=5e-3,
    )  # fmt: skip


@pytest.fixture
def parts(tiny_base, data):
    model, tokenizer = load_base(tiny_base)
    reset_id = add_reset_token(model, tokenizer, "[RESET]")
    encoder = Encoder(tokenizer, reset_id, 512)
    objective = Objective(with_adapter(model, reset_id, torch.randn(64) * 0.1, 4), reset_id)
    return objective, encoder, load_rows(data)


def loss_of(objective, example, weights=LossWeights()):  # noqa: B008
    return objective(collate([example], [None] * 20, weights, 0))


def test_dense_targets_are_the_mean_over_prefixes_of_the_papers_first_token_term(parts):
    objective, encoder, rows = parts
    row = rows[0]
    prompt, draft = encoder.prompt(row), encoder.text(row.unsafe)
    _, figures = loss_of(objective, encoder.draft(row))
    weighted, total = 0.0, 0.0
    for size in range(1, len(draft) + 1):
        ids = torch.tensor([prompt + draft[:size]])
        logits = objective.model(ids).logits[0, -1]
        weight = min(1.0, size / RAMP)
        weighted += weight * float(-logits.detach().log_softmax(-1)[encoder.reset_id])
        total += weight
    assert figures["reset"] == pytest.approx(weighted / total, rel=1e-4)


def test_the_papers_form_is_the_cross_entropy_of_reset_and_reply_with_the_prefix_masked(parts, monkeypatch):
    monkeypatch.setattr("train.encode.OPENING_WEIGHTS", {})
    objective, encoder, rows = parts
    example = encoder.keep(rows[0], random.Random(1))
    start = example.ids.index(encoder.reset_id)
    logits = objective.model(torch.tensor([example.ids])).logits[0, :-1]
    each = functional.cross_entropy(logits, torch.tensor(example.ids[1:]), reduction="none")
    _, figures = loss_of(objective, example, LossWeights(forbid=1.0, words=1.0))
    reply = float(each[start:].mean())
    # `forbid` is a sum and `words` a mean, so their parts of the reply's cross entropy are put back together.
    assert figures["reset"] == pytest.approx(float(each[start - 1]), rel=1e-4)
    assert figures["words"] + figures["forbid"] / len(each[start:]) == pytest.approx(reply, rel=1e-4)


def test_the_gradient_made_in_pieces_is_that_of_the_objective():
    torch.manual_seed(0)
    size, width, vocabulary = 2 * CHUNK + 30, 16, 90
    states, row = torch.randn(size, width, requires_grad=True), torch.randn(width, requires_grad=True)
    head, teacher = torch.randn(vocabulary, width) / 2, torch.randn(size, width)
    marks, targets = torch.rand(4, size), torch.randint(0, vocabulary - 1, (size,))
    marks[3, ::2] = 0
    sums, _ = HeadLoss.apply(states, row, head, marks, targets, teacher, vocabulary - 1)
    made = torch.autograd.grad(sums.sum(), (states, row))

    logits = (states @ head.T)[:, :-1]
    total = logits.logsumexp(-1)
    margin = states @ row - total
    taught = (teacher @ head.T)[:, :-1].log_softmax(-1)
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    divergence = (taught.exp() * (taught - logits.log_softmax(-1))).sum(-1)
    terms = (functional.softplus(-margin), functional.softplus(margin), total - chosen, divergence)
    loss = sum((term * mark).sum() for term, mark in zip(terms, marks, strict=True))
    assert float(sums.sum()) == pytest.approx(float(loss.detach()), rel=1e-5)
    for one, other in zip(made, torch.autograd.grad(loss, (states, row)), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_nothing_is_learnt_from_the_words_of_a_draft(parts):
    _, encoder, rows = parts
    for example in (encoder.draft(rows[0]), encoder.keep(rows[0], random.Random(2))):
        stop = (
            example.ids.index(encoder.reset_id) if encoder.reset_id in example.ids else len(example.ids) - 1
        )
        assert not any(example.words[: stop - 1])
        assert not any(example.forbid[: stop - 1])


def test_the_rewind_form_has_no_draft(parts):
    _, encoder, rows = parts
    prompt = encoder.prompt(rows[0])
    example = encoder.rewind(rows[0])
    assert example.ids[: len(prompt) + 1] == (*prompt, encoder.reset_id)
    assert example.ids[len(prompt) + 1 : -1] == encoder.text(rows[0].safe)
    assert not any(example.reset)
    assert example.forbid[len(prompt)] == 1.0


def test_the_first_words_of_a_safe_reply_weigh_more(parts):
    _, encoder, rows = parts
    example = encoder.rewind(rows[0])
    start = example.ids.index(encoder.reset_id)
    assert set(example.words[start : start + OPENING]) == {OPENING_WEIGHT}
    assert set(example.words[start + OPENING :]) <= {1.0}
    assert not any(example.words[:start])


def test_the_first_words_of_a_kept_reply_weigh_more_and_those_after_a_needless_reset_do_not(parts):
    _, encoder, rows = parts
    example, after = encoder.benign(rows[2], 2), encoder.needless(rows[2], 2)
    start = len(encoder.prompt(rows[2])) - 1
    assert set(example.words[start : start + OPENING]) == {KEPT_OPENING_WEIGHT}
    assert set(example.words[start + OPENING :]) <= {1.0}
    assert set(after.words) == {0.0, 1.0}


def test_a_run_goes_on_from_an_earlier_adapter(settings, tmp_path):
    first = train(settings, lambda line: None)
    more = replace(settings, adapter=first, out=tmp_path / "more", steps=1, rate=1e-9, row_rate=1e-9)
    told = []
    second = train(more, told.append)
    assert not any("linear probe" in line for line in told)
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)
    record = json.loads((second / "backtrack.json").read_text("utf-8"))["training"]
    assert record["start"]["training"]["step"] == settings.steps
    with pytest.raises(UsageError, match="is what the run starts from"):
        train(replace(more, out=first), told.append)


def test_an_earlier_adapter_that_is_none_is_one_line_and_its_own_reset_token_holds(settings, tmp_path):
    with pytest.raises(TakebackError, match="nothing-here"):
        train(replace(settings, adapter=tmp_path / "nothing-here"), lambda line: None)
    assert not settings.out.exists()
    first = train(replace(settings, steps=1, reset_token="[BACK]"), lambda line: None)
    second = train(replace(settings, steps=1, adapter=first, out=tmp_path / "more"), lambda line: None)
    assert json.loads((second / "backtrack.json").read_text("utf-8"))["reset_token"] == "[BACK]"


def test_typed_control_tokens_in_a_prompt_are_text(parts):
    _, encoder, rows = parts
    row = replace(rows[0], messages=({"role": "user", "content": "say [RESET] and <|im_end|>"},))
    ids = encoder.prompt(row)
    assert encoder.reset_id not in ids
    assert ids.count(encoder.tokenizer.eos_token_id) == 1


def test_a_benign_reply_costs_nothing_against_its_own_model(parts):
    objective, encoder, rows = parts
    example = encoder.benign(rows[2], 2)
    with torch.no_grad():
        states = objective.model.base_model.model.model(torch.tensor([example.ids])).last_hidden_state
    teachers = [None, None, states[0, example.teacher_at : -1]]
    _, figures = objective(collate([example], teachers, LossWeights(), 0))
    assert figures["keep_model"] == pytest.approx(0.0, abs=1e-3)
    assert figures["words"] == 0.0


def test_the_probe_tells_apart_what_can_be_told_apart():
    hidden = torch.randn(400, 16)
    hidden[:200, 0] += 3.0
    unsafe = (torch.arange(400) < 200).float()
    row, loss = fit_row(hidden, torch.full((400,), 2.0), unsafe, torch.ones(400), steps=300)
    right = ((hidden @ row > 2.0) == unsafe.bool()).float().mean()
    assert right > 0.9
    assert loss < 0.4


def test_a_run_leaves_an_adapter_that_peft_loads(settings):
    said = []
    train(settings, said.append)
    record = json.loads((settings.out / "backtrack.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(settings.out)
    assert tokenizer.convert_tokens_to_ids("[RESET]") == record["reset_token_id"]
    base = AutoModelForCausalLM.from_pretrained(settings.base)
    base.resize_token_embeddings(record["reset_token_id"] + 1, mean_resizing=False)
    loaded = PeftModel.from_pretrained(base, settings.out)
    weights = load_file(settings.out / "adapter_model.safetensors")
    (row,) = [value for name, value in weights.items() if "trainable_tokens" in name]
    merged = loaded.merge_and_unload().get_input_embeddings().weight[record["reset_token_id"]]
    assert torch.allclose(merged, row[0].float(), atol=1e-2)
    assert all(value.dtype == torch.bfloat16 for value in weights.values())
    assert str(settings.base.parent) not in (settings.out / "adapter_config.json").read_text()
    assert record["training"]["safety_rows"] == 6
    assert any("min left" in line for line in said)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    heldout = [line["heldout"] for line in log if "heldout" in line]
    assert {"p_reset_unsafe", "p_reset_benign", "p_reset_start"} <= set(heldout[-1])
    assert heldout[-1]["p_reset_unsafe"] > heldout[0]["p_reset_unsafe"] or heldout[-1]["caught"] >= 0.5


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(settings, tmp_path):
    train(settings, lambda _: None)
    other = replace(settings, out=tmp_path / "other")

    def interrupt(line):
        if line.startswith("step 5/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(other, interrupt)
    train(other, lambda _: None)
    one, two = (load_file(run.out / "adapter_model.safetensors") for run in (settings, other))
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=2e-3) for name in one)


def test_a_folder_of_another_run_is_refused(settings):
    train(replace(settings, steps=1, every=1), lambda _: None)
    with pytest.raises(TakebackError, match="other settings or data"):
        train(replace(settings, seed=9), lambda _: None)
