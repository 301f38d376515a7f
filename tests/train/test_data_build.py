"""The builder on a tiny base, by transformers and by the engine. Needs the extra `train`."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from assistant.cli import main  # noqa: E402
from train import grouped  # noqa: E402
from train.base import load_base  # noqa: E402
from train.replies import read_lines  # noqa: E402
from train.rows import load_rows  # noqa: E402
from train.sampling import chat_text  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [
        {
            "prompt": f"bad thing {n} of {n * n + 3}",
            "kind": "harmful",
            "opening": "Sure,",
            "safe": "No." * (n > 3),
        }
        for n in range(8)
    ]
    lines += [{"prompt": f"bread {n} or tea {n * n + 1}", "kind": "benign"} for n in range(6)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_folder_is_sampled_in_batches_and_gives_rows_to_train_on(tiny_base, own, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["train", "data", "--base", tiny_base, "--prompts", own, "--out", out, "--batch", 4]
    assert main([*map(str, words)]) == 0
    rows = load_rows(out / "train.jsonl")
    lines = list(read_lines(out / "replies.jsonl"))
    report = json.loads((out / "report.json").read_text())
    assert report["sampled_with"] == ["transformers"]
    assert report["sampled"]["wanted"] == report["sampled"]["there"]
    assert sum(bool(line.get("system")) for line in lines) >= 4
    assert {row.safe for row in rows if row.is_safety} == {"No."}
    assert any(not row.is_safety for row in rows)
    before = (out / "replies.jsonl").read_bytes()
    assert main([*map(str, words)]) == 0
    assert (out / "replies.jsonl").read_bytes() == before


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Granite"])
def test_the_attention_for_sampling_is_the_familys_own(tiny_model, family):
    model, tokenizer = load_base(tiny_model(family, **({"head_dim": 16} if family == "Qwen3" else {})))
    assert model.config.model_type in grouped.PLAIN
    tokenizer.padding_side = "left"
    batch = tokenizer(["bread is flour", "tea"], return_tensors="pt", padding=True)
    logits = []
    for name in ("eager", grouped.NAME):
        model.set_attn_implementation(name)
        with torch.inference_mode():
            logits.append(model.eval()(**batch).logits[:, -1])
    assert torch.allclose(*logits, atol=1e-4)


def test_a_template_without_system_messages_gets_them_in_the_users_turn(tiny_base):
    _, tokenizer = load_base(tiny_base)
    assert "<|im_start|>system\nSay no." in chat_text(tokenizer, "hm", system="Say no.")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m['role'] }}: {{ m['content'] }}|{% endfor %}"
    )
    assert chat_text(tokenizer, "hm", "Sure", system="Say no.") == "user: Say no.\n\nhm|Sure"
