"""`takeback attack` as it is called."""

import argparse
import json

import pytest

from assistant.usage import UsageError
from evals.attacks.cli import add_arguments_attack, run_attack
from evals.attacks.model_file import model_file
from evals.attacks.plan import ATTACKS
from tests.convert.small_model import write_adapter, write_checkpoint, write_record


def parse(*words):
    parser = argparse.ArgumentParser(prog="takeback")
    add_arguments_attack(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_help_names_every_attack_and_its_extra(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    output = capsys.readouterr().out
    assert all(f"{name} " in output and about in output for name, about in ATTACKS.items())
    assert "takeback[attacks]" in output


def test_a_run_prints_its_tables_and_keeps_them(plan, capsys):
    where = ("--prompts", plan.prompts, "--out", plan.out, "--base", plan.base, "--threads", 1)
    assert run_attack(parse(plan.model, *where, "--only", "plain", "--limit", 1)) == 0
    output = capsys.readouterr().out
    assert (plan.out / "report.md").read_text() == output
    assert "The first 1 prompts of AdvBench" in output
    report = json.loads((plan.out / "report.json").read_text())
    assert [(row["attack"], row["side"]) for row in report["rows"]] == [
        ("plain", "baseline"),
        ("plain", "backtracking"),
    ]


def test_an_unknown_attack_is_bad_usage(plan):
    with pytest.raises(UsageError, match="no attack 'nonsense'; there is plain, prefill"):
        run_attack(parse(plan.model, "--prompts", plan.prompts, "--out", plan.out, "--only", "nonsense"))


@pytest.mark.parametrize(
    "words", [("--steps", "0"), ("--seconds", "nan"), ("--seconds", "0"), ("--push", "-1")]
)
def test_wrong_numbers_are_bad_usage(plan, words):
    with pytest.raises(SystemExit) as end:
        parse(plan.model, "--prompts", plan.prompts, "--out", plan.out, *words)
    assert end.value.code == 2


def test_a_checkpoint_and_an_adapter_are_made_into_the_file_to_attack(tmp_path):
    write_checkpoint(tmp_path / "base", reset=False, rows=None)
    made = model_file(str(tmp_path / "base"), tmp_path, tmp_path / "out")
    plain = made.read_bytes()
    adapter = tmp_path / "adapter"
    write_adapter(adapter, 300)
    write_record(adapter)
    assert model_file(str(adapter), tmp_path / "base", tmp_path / "out") == made
    assert b"backtrack.reset_token_id" in made.read_bytes()
    assert b"backtrack.reset_token_id" not in plain
