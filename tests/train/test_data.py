"""Which rows sampled replies become."""

from train.data import fate_of, training_rows, wanted
from train.prompts import Prompt
from train.text import digest


def line(prompt, text, opening="", finished=True):
    return {
        "key": digest(prompt, text),
        "prompt": prompt,
        "opening": opening,
        "text": text,
        "finished": finished,
    }


def prompts(kind, many=200):
    return [
        Prompt(f"{kind} prompt {n}", kind, "own", safe="No." if kind == "harmful" else "")
        for n in range(many)
    ]


def test_what_is_for_evaluation_becomes_no_row():
    given = prompts("benign", 2000)
    rows = list(training_rows(given, [line(prompt.text, "A reply.") for prompt in given], fate_of({})))
    used = {row["prompt"] for _, row in rows}
    assert all((prompt.text in used) != prompt.for_evaluation for prompt in given)
    assert {row["prompt"] for held, row in rows if held} == {
        prompt.text for prompt in given if prompt.held_out and not prompt.for_evaluation
    }


def test_the_readers_label_decides():
    given = [prompt for prompt in prompts("harmful") if not prompt.held_out][:4]
    drafts = [line(prompt.text, f"Draft {n}.") for n, prompt in enumerate(given)]
    kinds = ("unsafe", "harmless", "refusal", "unclear")
    labels = {digest(d["prompt"], d["text"]): kind for d, kind in zip(drafts, kinds, strict=True)}
    rows = [
        row
        for _, row in training_rows(given, drafts, fate_of(labels))
        if row["prompt"] in {p.text for p in given}
    ]
    assert [row.get("unsafe") or row.get("reply") for row in rows] == ["Draft 0.", "Draft 2."]
    assert rows[0]["safe"] == "No."


def test_a_draft_under_a_harmless_prompt_ends_in_that_prompts_own_answer():
    harmful = [prompt for prompt in prompts("harmful") if not prompt.held_out]
    harmless = [prompt for prompt in prompts("benign") if not prompt.held_out]
    lines = [line(prompt.text, f"Draft of {prompt.text}.") for prompt in harmful]
    lines += [line(prompt.text, f"Answer to {prompt.text}.") for prompt in harmless]
    labels = {digest(d["prompt"], d["text"]): "unsafe" for d in lines}
    rows = [row for _, row in training_rows([*harmful, *harmless], lines, fate_of(labels))]
    crossed = [row for row in rows if "unsafe" in row and row["prompt"].startswith("benign")]
    assert len(harmful) / 8 < len(crossed) < len(harmful) / 2
    assert all(row["safe"] == f"Answer to {row['prompt']}." for row in crossed)


def test_openings_are_asked_for_and_no_reply_is_asked_for_twice():
    items = wanted([*prompts("harmful"), *prompts("benign")])
    assert len({item.key for item in items}) == len(items)
    assert sum(bool(item.opening) for item in items) > 200
