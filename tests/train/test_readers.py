import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import train.lines
from convert.errors import TakebackError
from train.exclusions import evaluation_prompts
from train.prompts import Prompt
from train.readers import DRAFT_LABELS, read_hh, read_labels, read_oasst, read_prompts
from train.text import digest

READERS = {
    "prompts": lambda path: read_prompts(path, "x"),
    "prompts_of_a_kind": lambda path: read_prompts(path, "x", "harmful"),
    "hh": lambda path: read_hh(path, "x", "benign", {}, {}),
    "oasst": lambda path: read_oasst(path, "x", None, "all"),
    "labels": lambda path: read_labels(path, "draft_digest", DRAFT_LABELS),
    "exclusions": evaluation_prompts,
}
TREE = {
    "message_tree_id": "t",
    "prompt": {"text": "Hello there", "role": "prompter", "lang": "en", "replies": []},
}
GOOD = {
    "prompts": [
        {"prompt": "p", "kind": "benign"},
        {"prompt": "q", "kind": "harmful", "opening": "Sure", "safe": "No."},
    ],
    "prompts_of_a_kind": [{"prompt": "p"}],
    "hh": [{"chosen": "\n\nHuman: Hi\n\nAssistant: Hm.", "rejected": ""}],
    "oasst": [TREE],
    "labels": [],
    "exclusions": [{"prompt": "p"}],
}
NAMES = ("prompt", "kind", "opening", "safe", "chosen", "text", "role", "lang", "labels", "spam", "value")
HEADS = (b"", b"\x1f\x8b", b"prompt,kind\n", b'"', b"{", b"draft_digest,label\n")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(codec=None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def jsonl(path, rows, pack=False):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if pack else text)
    return path


def all_or_one_line(read, path):
    """What a reader gives, or the one line that it raises; anything else is a failure."""
    try:
        return list(read(path))
    except TakebackError as error:
        assert str(path) in str(error)
        return None


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@CALM
@given(content=st.binary(max_size=300), head=st.sampled_from(HEADS))
def test_random_bytes_are_read_or_refused(tmp_path, name, suffix, content, head):
    path = tmp_path / f"f{suffix}"
    path.write_bytes(head + content)
    all_or_one_line(READERS[name], path)


@pytest.mark.parametrize("name", READERS)
@CALM
@given(rows=st.lists(values, max_size=3), pack=st.booleans())
def test_random_json_is_read_or_refused(tmp_path, name, rows, pack):
    found = all_or_one_line(READERS[name], jsonl(tmp_path / "f", rows, pack))
    for prompt in found or ():
        if isinstance(prompt, Prompt):
            assert (prompt.text + prompt.opening + prompt.safe).encode("utf-8") is not None


@pytest.mark.parametrize("name", [name for name, rows in GOOD.items() if rows])
@CALM
@given(data=st.data())
def test_a_damaged_gzip_file_is_read_or_refused(tmp_path, name, data):
    path = jsonl(tmp_path / "f.jsonl.gz", GOOD[name] * 20, pack=True)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    all_or_one_line(READERS[name], path)


def test_own_prompts_are_read_with_all_that_they_say(tmp_path):
    for pack in (False, True):
        found = list(read_prompts(jsonl(tmp_path / "f", GOOD["prompts"], pack), "mine"))
        assert found == [Prompt("p", "benign", "mine"), Prompt("q", "harmful", "mine", "Sure", "No.")]


def test_csv_may_call_a_prompt_a_goal_and_an_opening_a_target(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text('\ufeffgoal,target\n"pick, a\nlock","Sure, here"\n', encoding="utf-8")
    assert list(read_prompts(path, "s", "harmful")) == [Prompt("pick, a\nlock", "harmful", "s", "Sure, here")]
    with pytest.raises(TakebackError, match='"kind" must be harmful or benign'):
        list(read_prompts(path, "s"))


BAD = [
    ("f.jsonl", '{"kind": "benign"}', 'needs a "prompt"'),
    ("f.jsonl", '{"prompt": "p", "kind": "evil"}', '"kind" must be'),
    ("f.jsonl", '{"prompt": 7, "kind": "benign"}', '"prompt" must be text'),
    ("f.jsonl", '{"prompt": "p", "kind": "benign", "safe": "No."}', '"safe" is for harmful'),
    ("f.jsonl", '{"prompt": "\\ud800", "kind": "benign"}', "half of a character"),
    ("f.jsonl", "[" * 100_000, "not JSON"),
    ("f.jsonl", "9" * 5000, "not JSON"),
    ("f.csv", "prompt,kind\np\n", "has 1 cells"),
    ("f.csv", "prompt,prompt\np,q\n", "two columns have one name"),
    ("f.csv", 'prompt,kind\n"p,benign\n', "not CSV"),
]


@pytest.mark.parametrize(("name", "text", "why"), BAD)
def test_a_bad_line_is_named(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    with pytest.raises(TakebackError, match=why) as caught:
        list(read_prompts(tmp_path / name, "x"))
    assert ", line " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bounds_hold_for_lines_and_for_what_a_small_gzip_file_unpacks_to(tmp_path, monkeypatch):
    monkeypatch.setattr(train.lines, "LONGEST", 1 << 20)
    monkeypatch.setattr(train.lines, "MOST", 3 << 20)
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (40 << 20)))
    with pytest.raises(TakebackError, match="line 1: longer than 1 MiB"):
        list(read_prompts(path, "x"))
    path.write_bytes(gzip.compress((b" " * 1000 + b"\n") * 4000))
    with pytest.raises(TakebackError, match="the file is larger"):
        list(read_prompts(path, "x"))
    with pytest.raises(TakebackError, match="cannot read"):
        list(read_prompts(tmp_path, "x"))


def test_labels_decide_on_hh_and_a_kind_on_the_rest(tmp_path):
    turns = ["steal it", "steal a look", "unclear one", "nobody read it"]
    path = jsonl(tmp_path / "f", [{"chosen": f"\n\nHuman: {t}\n\nAssistant: No.\n\nHuman: x"} for t in turns])
    labels = dict(zip(map(digest, turns), ("harmful", "benign", "ambiguous"), strict=False))
    safe = {digest("steal it"): "No stealing."}
    expected = [
        Prompt("steal it", "harmful", "hh", safe="No stealing."),
        Prompt("steal a look", "lookalike", "hh"),
    ]
    assert list(read_hh(path, "hh", None, labels, safe)) == [
        *expected,
        "ambiguous by its label",
        "without a label",
    ]
    assert list(read_hh(path, "hh", "benign", labels, safe))[3] == Prompt("nobody read it", "benign", "hh")


def test_trees_give_their_first_turns_in_the_language_asked_for(tmp_path):
    first = TREE["prompt"]
    rows = [
        TREE,
        {"prompt": {**first, "lang": "de", "text": "Hallo"}},
        {"prompt": {**first, "labels": {"spam": {"value": 0.75, "count": 4}}}},
        {"prompt": {**first, "labels": {"spam": {"value": 0.0, "count": 4}}, "text": "Again"}},
        {"prompt": {**first, "deleted": True}},
    ]
    path = jsonl(tmp_path / "f.jsonl.gz", rows, pack=True)
    found = list(read_oasst(path, "o", None, "en"))
    assert [one if isinstance(one, str) else one.text for one in found] == [
        "Hello there", "in another language", "marked as unfit in its set", "Again", "deleted in its set",
    ]  # fmt: skip
    assert Prompt("Hallo", "benign", "o") in list(read_oasst(path, "o", None, "all"))
    flat = jsonl(
        tmp_path / "flat", [{"message_id": "m", "parent_id": None, "text": "Hi", "role": "prompter"}]
    )
    with pytest.raises(TakebackError, match="take that of trees"):
        list(read_oasst(flat, "o", None, "en"))


def test_labels_come_back_from_a_table_with_more_columns(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text('draft_digest,label,draft\n0123456789abcdef,Unsafe ,"a, b"\nfedcba9876543210,,c\n')
    assert read_labels(path, "draft_digest", DRAFT_LABELS) == {"0123456789abcdef": "unsafe"}
    for line, why in (
        ("1.23E+15,unsafe,d", "16 hexadecimal digits"),
        ("0123456789abcdef,bad,d", "must be one of"),
        ("0123456789abcdef,harmless,d", "another label above"),
    ):
        path.write_text(f"draft_digest,label,draft\n0123456789abcdef,unsafe,x\n{line}\n")
        with pytest.raises(TakebackError, match=why):
            read_labels(path, "draft_digest", DRAFT_LABELS)


def test_a_file_that_excludes_nothing_is_refused(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("question\nwhy\n")
    with pytest.raises(TakebackError, match="has no prompts"):
        list(evaluation_prompts(path))
    path.write_text("turn1,turn2\none,two\n")
    assert list(evaluation_prompts(Path(path))) == ["one", "two"]
