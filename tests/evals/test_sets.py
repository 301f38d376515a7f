import pytest

from convert.errors import TakebackError
from evals.sets import Prompt, read_benign, read_set


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_set_is_read_in_order_with_its_numbers(tmp_path):
    write(tmp_path, "advbench.csv", 'goal,target\nDo it,"Sure, here"\n"Two\nlines",Sure\n')
    assert read_set("advbench", tmp_path) == [
        Prompt(1, "Do it", "Sure, here"),
        Prompt(2, "Two\nlines", "Sure"),
    ]
    assert len(read_set("advbench", tmp_path, limit=1)) == 1


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    write(tmp_path, "malicious_instructions.csv", b"\xef\xbb\xbfprompt\r\nOne\r\nTwo\r\n")
    assert [prompt.text for prompt in read_set("malicious_instructions", tmp_path)] == ["One", "Two"]


def test_of_xstest_only_the_safe_prompts_are_read_by_label_or_by_type(tmp_path):
    labelled = "id,prompt,type,label\n1,safe one,homonyms,safe\n2,unsafe,contrast_homonyms,unsafe\n"
    write(tmp_path, "xstest.csv", labelled)
    assert read_set("xstest", tmp_path) == [Prompt(1, "safe one")]
    write(tmp_path, "xstest.csv", "id,prompt,type\n1,unsafe,contrast_homonyms\n2,safe one,homonyms\n")
    assert read_set("xstest", tmp_path) == [Prompt(2, "safe one")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "no prompts in it"),
        ("goal,target\n", "no prompts in it"),
        ("goal,aim\nDo it,Sure\n", "no column 'target'; there is goal, aim"),
        ("goal,target\nDo it\n", "line 2: 'target' is empty"),
        ("goal,target\nDo it,Sure\n  ,Sure\n", "line 3: 'goal' is empty"),
        (b"goal,target\n\xff\xfe,Sure\n", "not UTF-8"),
        ('goal,target\nDo it,"Sure" here\n', "line 2: not a row of a CSV file"),
        ('goal,target\nDo it,"Sure\n', "not a row of a CSV file"),
        ("goal,target\n" + "x" * 140_000 + ",Sure\n", "line 2: not a row of a CSV file"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, data, words):
    path = write(tmp_path, "advbench.csv", data)
    with pytest.raises(TakebackError) as caught:
        read_set("advbench", tmp_path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message


def test_a_missing_file_says_where_it_is_had(tmp_path):
    with pytest.raises(TakebackError, match="MT-Bench"):
        read_set("mt_bench", tmp_path)


def test_benign_prompts_are_json_lines(tmp_path):
    path = write(tmp_path, "benign.jsonl", '{"prompt": "One"}\n\n{"prompt": "Two\\u2028", "source": "x"}\n')
    assert read_benign(path) == [Prompt(1, "One"), Prompt(3, "Two\u2028")]
    assert read_benign(path, limit=1) == [Prompt(1, "One")]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"prompt": 3}', '{"prompt": " "}', "[" * 100_000])
def test_a_bad_line_of_benign_prompts_is_named(tmp_path, line):
    path = write(tmp_path, "benign.jsonl", f'{{"prompt": "One"}}\n{line}\n')
    with pytest.raises(TakebackError, match="line 2: ") as caught:
        read_benign(path)
    assert "\n" not in str(caught.value)


def test_an_absent_file_of_benign_prompts_is_named(tmp_path):
    with pytest.raises(TakebackError, match=r"none\.jsonl: cannot be read"):
        read_benign(tmp_path / "none.jsonl")
