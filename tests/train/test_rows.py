import json

import pytest

from convert.errors import TakebackError
from train.rows import load_rows, save_rows

GOOD = {"prompt": "Why is the sky blue?", "reply": "Because air scatters blue light."}
BAD = [
    ("{", "not JSON"),
    ("[]", "a row is a JSON object"),
    ('{"reply": "yes"}', 'needs "prompt" or "messages"'),
    ('{"prompt": "p"}', '"unsafe" and "safe", or "reply"'),
    ('{"prompt": "p", "unsafe": "u"}', '"unsafe" and "safe", or "reply"'),
    ('{"prompt": "p", "unsafe": "u", "safe": "s", "reply": "r"}', "not both"),
    ('{"prompt": "p", "reply": 7}', '"reply" must be text'),
    ('{"messages": [{"role": "user"}], "reply": "r"}', '"role" and "content"'),
    ('{"messages": [{"role": "assistant", "content": "c"}], "reply": "r"}', "must be the user's"),
    ("[" * 100_000, "not JSON"),
    ('{"prompt": "p", "reply": "\\ud83d"}', '"reply" has half of a character'),
    ('{"prompt": "\\udc00", "reply": "r"}', '"prompt" has half of a character'),
    (
        '{"messages": [{"role": "user", "content": "\\ud800"}], "reply": "r"}',
        '"content" has half of a character',
    ),
]


@pytest.mark.parametrize(("line", "why"), BAD)
def test_a_bad_row_is_named_by_its_line(tmp_path, line, why):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + line + "\n")
    with pytest.raises(TakebackError) as caught:
        load_rows(path)
    assert "line 3" in str(caught.value)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_every_kind_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    save_rows(
        [
            GOOD,
            {"prompt": "p", "unsafe": "u", "safe": "s"},
            {"messages": turns, "prefill": "Sure,", "reply": " r", "finished": False},
        ],
        path,
    )
    benign, safety, chat = load_rows(path)
    assert (benign.is_safety, benign.finished, safety.is_safety) == (False, True, True)
    assert [turn["content"] for turn in chat.messages] == ["a", "b", "c"]
    assert (chat.prefill, chat.finished) == ("Sure,", False)


def test_a_line_separator_inside_a_reply_is_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    save_rows([{"prompt": "p", "reply": "one\u2028two\u0085three"}], path)
    assert load_rows(path)[0].reply == "one\u2028two\u0085three"


def test_an_empty_or_missing_file_is_one_clear_line(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(TakebackError, match="holds no rows"):
        load_rows(tmp_path / "empty.jsonl")
    with pytest.raises(TakebackError, match="cannot read"):
        load_rows(tmp_path / "absent.jsonl")
