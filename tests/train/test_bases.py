"""Bases of several families: a few steps, and a result that PEFT or transformers load to the same model."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import PeftModel  # noqa: E402
from torch.nn import functional  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from convert.errors import TakebackError  # noqa: E402
from train.base import load_base  # noqa: E402
from train.encode import Encoder  # noqa: E402
from train.head import CHUNK, HeadLoss  # noqa: E402
from train.output import LogitRule, logit_rule, output_rows, shaped  # noqa: E402
from train.probe import fit_row  # noqa: E402
from train.rows import load_rows  # noqa: E402
from train.settings import SftSettings  # noqa: E402
from train.sft import train  # noqa: E402
from train.trainable import add_reset_token, with_adapter  # noqa: E402

pytestmark = pytest.mark.slow

FAMILIES = {
    "llama": ("Llama", {}),
    "llama_untied": ("Llama", {"tie_word_embeddings": False}),
    "gemma2": ("Gemma2", {"head_dim": 16, "final_logit_softcapping": 2.0, "sliding_window": 8}),
    "qwen2": ("Qwen2", {"vocab_size": 400}),  # more rows than tokens, as Qwen's own have
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "granite": ("Granite", {"logits_scaling": 4.0}),
}
RULES = {"gemma2": LogitRule(cap=2.0), "granite": LogitRule(scale=0.25)}


def settings_of(base, data, out, **more):
    plain = {
        "steps": 2,
        "every": 2,
        "rank": 4,
        "threads": 1,
        "batch_tokens": 256,
        "rate": 1e-3,
        "row_rate": 1e-3,
    }
    return SftSettings(base=base, data=data, heldout=data, out=out, **(plain | more))


def result_of(settings):
    """What a reader of the folder gets: the model with the result in it, and the reset's id."""
    record = json.loads((settings.out / "backtrack.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(settings.out)
    assert tokenizer.convert_tokens_to_ids("[RESET]") == record["reset_token_id"]
    if not (settings.out / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(settings.out, dtype=torch.float32), record
    base, tokenizer = load_base(settings.base)
    add_reset_token(base, tokenizer, "[RESET]")
    return PeftModel.from_pretrained(base, settings.out).merge_and_unload(), record


@pytest.mark.parametrize("full", [False, True], ids=["adapter", "full"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_steps_leave_a_result_that_gives_the_reset_its_chance(tiny_model, data, tmp_path, name, full):
    family, config = FAMILIES[name]
    settings = settings_of(tiny_model(family, **config), data, tmp_path / "run", steps=3, full=full)
    train(settings, lambda _: None)
    model, record = result_of(settings)
    rows = load_rows(data)
    encoder = Encoder(AutoTokenizer.from_pretrained(settings.out), record["reset_token_id"], 512)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == record["training"]["step"] == 3
    told, start = log[-1]["heldout"], log[0]["heldout"]
    assert told["p_reset_unsafe"] > told["p_reset_benign"]
    assert told != start
    # What the log told of the model in training holds for the stored one, by its own logits.
    chances = []
    for row in (row for row in rows if row.is_safety):
        start_at = len(encoder.prompt(row))
        logits = model(torch.tensor([encoder.draft(row).ids])).logits[0, start_at:-1]
        chances.append(logits.softmax(-1)[:, encoder.reset_id])
    assert float(torch.cat(chances).mean().detach()) == pytest.approx(told["p_reset_unsafe"], rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rule_of_the_logits_is_read_from_the_model_and_gives_its_loss(tiny_model, name):
    family, config = FAMILIES[name]
    base, tokenizer = load_base(tiny_model(family, **config))
    reset_id = add_reset_token(base, tokenizer, "[RESET]")
    rule = logit_rule(base)
    assert rule == RULES.get(name, LogitRule())
    model = with_adapter(base, reset_id, torch.randn(64), 4)
    ids = torch.arange(3, 30)[None]
    head, row = output_rows(model, reset_id)
    states = model.get_base_model().base_model(ids).last_hidden_state[0]
    marks = torch.zeros(4, len(states))
    marks[2, 5] = 1.0  # the words' share: the cross entropy among the other tokens
    sums, margin = HeadLoss.apply(states, row, head, marks, ids[0], states, reset_id, rule)
    logits = model(ids).logits[0].detach()
    others = logits[:, [n for n in range(logits.shape[1]) if n != reset_id]]
    assert float(margin[5]) == pytest.approx(float(logits[5, reset_id] - others[5].logsumexp(-1)), abs=1e-3)
    assert float(sums[2].detach()) == pytest.approx(
        float(others[5].logsumexp(-1) - logits[5, ids[0, 5]]), abs=1e-3
    )


def test_the_gradient_in_pieces_is_autograds_where_logits_are_capped_and_the_head_is_trained():
    torch.manual_seed(0)
    size, width, vocabulary, reset_id = CHUNK + 30, 16, 90, 40
    rule = LogitRule(scale=0.5, cap=3.0)
    states, row = torch.randn(size, width, requires_grad=True), torch.randn(width, requires_grad=True)
    head = (torch.randn(vocabulary, width) / 2).requires_grad_(True)
    base_head, teacher = torch.randn(vocabulary, width) / 2, torch.randn(size, width)
    marks, targets = torch.rand(4, size), torch.randint(0, reset_id, (size,))
    given = (states, row, head, marks, targets, teacher, reset_id, rule, base_head)
    sums, _ = HeadLoss.apply(*given)
    made = torch.autograd.grad(sums.sum(), (states, row, head))

    rest = [n for n in range(vocabulary) if n != reset_id]
    logits = shaped(states @ head.T, rule)[:, rest]
    total = logits.logsumexp(-1)
    margin = shaped(states @ row, rule) - total
    taught = shaped(teacher @ base_head.T, rule)[:, rest].log_softmax(-1)
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    divergence = (taught.exp() * (taught - logits.log_softmax(-1))).sum(-1)
    terms = (functional.softplus(-margin), functional.softplus(margin), total - chosen, divergence)
    loss = sum((term * mark).sum() for term, mark in zip(terms, marks, strict=True))
    assert float(sums.sum()) == pytest.approx(float(loss.detach()), rel=1e-5)
    for one, other in zip(made, torch.autograd.grad(loss, (states, row, head)), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_the_probe_fits_a_capped_logit():
    torch.manual_seed(1)
    hidden = torch.randn(400, 16)
    hidden[:200, 0] += 3.0
    unsafe = (torch.arange(400) < 200).float()
    rule = LogitRule(scale=0.5, cap=4.0)
    row, loss = fit_row(hidden, torch.full((400,), 2.0), unsafe, torch.ones(400), steps=300, rule=rule)
    right = ((shaped(hidden @ row, rule) > 2.0) == unsafe.bool()).float().mean()
    assert right > 0.9
    assert loss < 0.45


def test_logits_made_in_another_way_are_refused(tiny_model):
    base, _ = load_base(tiny_model("Llama"))
    base.lm_head.register_forward_hook(lambda module, given, found: found**2)
    with pytest.raises(TakebackError, match="not known here"):
        logit_rule(base)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"config.json": "{}"}, "cannot load the base model"),
        ({"model.safetensors": "not tensors"}, "cannot load the base model"),
        ({"tokenizer_config.json": None, "chat_template.jinja": None}, "chat template"),
        ({"chat_template.jinja": "{{ raise_exception('no system here') }}"}, "no system here"),
        ({"chat_template.jinja": "hello"}, "leaves out a message"),
    ],
)
def test_a_base_that_cannot_be_trained_is_one_clear_line(tiny_model, data, tmp_path, broken, why):
    base = tiny_model("Llama")
    for name, text in broken.items():
        (base / name).unlink() if text is None else (base / name).write_text(text)
    with pytest.raises(TakebackError, match=why) as caught:
        train(settings_of(base, data, tmp_path / "run"), lambda _: None)
    assert "\n" not in str(caught.value)


def test_an_ordinary_word_is_no_reset_token(tiny_base):
    base, tokenizer = load_base(tiny_base)
    with pytest.raises(TakebackError, match="ordinary word"):
        add_reset_token(base, tokenizer, "a")
