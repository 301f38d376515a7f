"""A small folder of the public sets, a small corpus beside it, and a base that says the same every time."""

import gzip
import json

from train.text import digest

TURNS = [f"How would somebody number {n} come by thing {n * 7 % 300} without paying?" for n in range(300)]
REQUESTS = [f"Write down recipe {n} for the forbidden cake of town {n * 3}." for n in range(40)]
SAYINGS = (
    "Take it from the shelf and walk out.", "I'm sorry, I can't help with that.", "", "Ask nicely, then wait.",
    "It depends on the day of the week.", "Nobody has to know what is in your bag.",
)  # fmt: skip


def write_sets(folder):
    folder.mkdir()
    with gzip.open(folder / "hh_harmless_base_test.jsonl.gz", "wt") as file:
        for turn in TURNS:
            said = f"\n\nHuman: {turn}\n\nAssistant: Hm.\n\nHuman: Go on."
            file.write(json.dumps({"chosen": said, "rejected": ""}) + "\n")
    for name in ("alpaca_seed_tasks.jsonl", "self_instruct_user_tasks.jsonl"):
        tasks = [
            {
                "instruction": f"{name[:5]}: sort list {n}.",
                "instances": [{"input": "b a" * (n % 2), "output": ""}],
            }
            for n in range(30)
        ]
        (folder / name).write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return folder


def corpus_table(name):
    if name == "prompt_labels.csv":
        return {
            digest(turn): ("harmful", "harmful", "benign", "ambiguous")[n % 4] for n, turn in enumerate(TURNS)
        }
    texts = [(turn, text) for turn in TURNS[:120] for text in SAYINGS]
    return {
        digest(*pair): ("unsafe", "harmless", "refusal", "unsafe", "unclear")[n % 5]
        for n, pair in enumerate(texts)
    }


def corpus_lines(name):
    return {
        "safe_replies.jsonl": [
            {"prompt_digest": digest(turn), "safe": f"No thing for you, {n}."}
            for n, turn in enumerate(TURNS)
            if n % 5
        ],
        "openings.jsonl": [
            {"prompt_digest": digest(turn), "opening": f"To come by thing {n},"}
            for n, turn in enumerate(TURNS)
            if n % 3
        ],
        "requests.jsonl": [
            {"prompt": text, "safe": f"Not cake {n}.", "opening": "Take flour"}
            for n, text in enumerate(REQUESTS)
        ],
        "instructions.jsonl": [{"prompt": f"Explain idea {n} to a child."} for n in range(60)],
        "lookalikes.jsonl": [{"prompt": f"How do I kill process {n}?"} for n in range(60)],
        "calibration.jsonl": [
            {"prompt": f"Calm question {n}, please.", "kind": ("benign", "lookalike")[n % 2]}
            for n in range(20)
        ],
    }[name]


def put_corpus(monkeypatch):
    """Put the small corpus in the place of the package's own."""
    for module, name in (
        ("train.prompts", "corpus_table"),
        ("train.prompts", "corpus_lines"),
        ("train.openings", "corpus_lines"),
        ("train.data", "corpus_table"),
    ):
        monkeypatch.setattr(f"{module}.{name}", globals()[name])


def reply(item):
    """The line that a base of few words gives for what is wanted."""
    number = int(digest(item.key), 16)
    text = item.opening + (SAYINGS[number % len(SAYINGS)] + " And so on." * (number // 7 % 3 // 2))
    return {
        "prompt": item.prompt, "opening": item.opening, "temperature": item.temperature,
        "max_tokens": item.max_tokens, "key": item.key, "text": text, "finished": bool(number % 4),
    }  # fmt: skip
