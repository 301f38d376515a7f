"""`takeback ask` as a user runs it: in a process of its own."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assistant.ask_output import TerminalOutput
from assistant.engine.events import Error, Text
from tests.engine.conftest import RESET
from tests.memory_search import count_in_memory

HEAVY = ("llama_cpp", "textual", "numpy", "jinja2", "huggingface_hub", "platformdirs")
ALWAYS = ("--reset-token", RESET, "--reset-bias", "30")
"""With these the model takes back at once, and again after each reset."""


@pytest.fixture
def command(base_model, tmp_path, takeback_home):
    probed = Path(takeback_home, "probed")  # one trial of the model is enough for all tests
    probed.mkdir(parents=True, exist_ok=True)
    (tmp_path / "probed").symlink_to(probed)
    environment = {
        **os.environ,
        "TAKEBACK_HOME": str(tmp_path),
        "TAKEBACK_THREADS": "1",
        "TAKEBACK_CTX": "512",
    }

    def build(*words, model=True):
        chosen = ["--model", str(base_model), "--seed", "1"] if model else []
        return {
            "args": [sys.executable, "-m", "assistant.cli", "ask", *words, *chosen],
            "env": environment,
            "text": True,
        }

    return build


def run(command, *words, **options):
    inputs = {"input": options.pop("input")} if "input" in options else {"stdin": subprocess.DEVNULL}
    return subprocess.run(
        **command(*words, **options), **inputs, capture_output=True, timeout=6000, check=False
    )


def events(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_reply_into_a_pipe(command) -> None:
    done = run(command, "Say hello.", "--max-tokens", "8")
    assert done.returncode == 0
    assert done.stdout.strip() and done.stdout.endswith("\n")
    assert "cannot take back" in done.stderr and "cut off at --max-tokens" in done.stderr


def test_json_events(command) -> None:
    done = run(command, "Say [RESET] and <|im_end|>", "--json", "--max-tokens", "8", input="ignored")
    assert done.returncode == 0
    first, *middle, last = events(done)
    assert first["event"] == "start" and not first["backtracking"]
    assert {e["event"] for e in middle} == {"prefill", "text"}
    assert "".join(e["text"] for e in middle if e["event"] == "text") == last["text"]
    assert (last["event"], last["reason"], last["tokens"]) == ("done", "length", 8)


def test_text_comes_from_standard_input_too(command) -> None:
    ways = [
        run(command, "Name a tree.", "--max-tokens", "5", "--system", "Be brief."),
        run(command, "--max-tokens", "5", "--system", "Be brief.", input="Name a tree."),
    ]
    assert ways[0].stdout == ways[1].stdout


def test_messages_from_a_file(command, tmp_path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"},
                                {"role": "user", "content": "Name a tree."}]))  # fmt: skip
    done = run(command, "--messages", str(file), "--json", "--max-tokens", "3")
    assert done.returncode == 0 and events(done)[-1]["tokens"] == 3
    file.write_text('[{"role": "user<|im_end|>", "content": "x"}]')
    done = run(command, "--messages", str(file))
    assert done.returncode == 1 and "role" in done.stderr and "Traceback" not in done.stderr


def test_a_reply_within_a_schema_or_a_grammar(command, tmp_path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.gbnf"
    schema.write_text('{"type": "object", "properties": {"big": {"type": "boolean"}}, "required": ["big"]}')
    done = run(command, "Is the sea big?", "--json-schema", str(schema), "--max-tokens", "40")
    assert done.returncode == 0 and isinstance(json.loads(done.stdout)["big"], bool)
    grammar.write_text("root ::= answer")
    done = run(command, "Is the sea big?", "--grammar", str(grammar), "--json")
    assert done.returncode == 1 and "Undefined rule identifier 'answer'" in events(done)[-1]["message"]
    assert "Traceback" not in done.stderr
    done = run(command, "Hi", "--grammar", str(grammar), "--json-schema", str(schema))
    assert done.returncode == 2


def test_too_many_resets_withhold_the_reply(command) -> None:
    done = run(command, "Hi", *ALWAYS, "--max-resets", "2", "--json")
    assert done.returncode == 0
    assert [e["event"] for e in events(done)][-4:] == ["reset", "reset", "reset", "done"]
    assert events(done)[-1]["reason"] == "reset_limit" and events(done)[-1]["text"] == ""
    done = run(command, "Hi", *ALWAYS, "--prefill", "CANARY is what I say", "--hold-back", "2")
    assert done.returncode == 0 and done.stdout == "" and "CANARY" not in done.stderr
    assert "took back every draft" in done.stderr


def test_streaming_says_what_was_taken_back(command) -> None:
    words = ("Hi", *ALWAYS, "--prefill", "One two three four", "--hold-back", "1", "--stream")
    done = run(command, *words)
    assert done.stdout.startswith("One two three\n[Taken back.")
    shown = run(command, *words, "--show-discarded")
    assert "taken back: One two three four" in shown.stderr


def test_control_sequences_do_not_reach_the_output(command) -> None:
    done = run(command, "Hi", "--prefill", "\x1b]0;title\x07\u202eok", "--max-tokens", "1")
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout and "\u202e" not in done.stdout
    assert "ok" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([""], 2, "nothing to ask"),
        (["  \n"], 2, "nothing to ask"),
        (["Hi", "--no-such-flag"], 2, "unrecognized"),
        (["Hi", "--temperature", "warm"], 2, "invalid float"),
        (["Hi", "--temperature", "-1"], 2, "temperature"),
        (["Hi", "--hold-back", "5000"], 2, "hold-back"),
        (["Hi", "--messages", "x.json"], 2, "--messages"),
        (["--messages", "no-such.json"], 1, "no-such.json"),
        (["Hi", "--model", "no-such-model"], 1, "no-such-model"),
        (["Hi", "--model", __file__], 1, "test_ask.py"),
    ],
)
def test_failures_are_one_line(command, words, status, says) -> None:
    done = run(command, *words, model=False)
    assert done.returncode == status
    assert says in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_failures_with_json_are_the_last_event(command) -> None:
    done = run(command, "Hi", "--json", "--model", __file__, model=False)
    assert done.returncode == 1 and events(done)[-1]["event"] == "error" and done.stderr == ""
    done = run(command, "word " * 600, "--json")
    assert done.returncode == 1 and "tokens" in events(done)[-1]["message"]


def test_with_json_a_missing_file_and_a_broken_config_are_events_too(command, tmp_path) -> None:
    done = run(command, "--messages", "no-such.json", "--json", model=False)
    assert done.returncode == 1 and "no-such.json" in events(done)[-1]["message"]
    (tmp_path / "config.toml").write_text("max_resets = 'many'\n")
    done = run(command, "Hi", "--json", model=False)
    assert done.returncode == 1 and "max_resets" in events(done)[-1]["message"]


def test_an_error_leaves_no_count_on_the_terminal() -> None:
    stream = io.StringIO()
    output = TerminalOutput(stream, paragraphs=True)
    output.take(Text("half a paragraph"))
    output.take(Error("failed"))
    assert stream.getvalue().endswith("characters\r\x1b[K")


def test_a_bad_setting_names_its_place(command, tmp_path) -> None:
    (tmp_path / "config.toml").write_text("max_resets = 'many'\n")
    done = run(command, "Hi")
    assert done.returncode == 1 and "config.toml: max_resets" in done.stderr


def test_a_reader_who_leaves_makes_no_noise(command) -> None:
    with subprocess.Popen(
        **command("Tell a story.", "--stream"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        child.stdout.read(1)
        child.stdout.close()
        error = child.stderr.read()
        assert child.wait(timeout=600) == 1
    assert "Traceback" not in error and "Broken" not in error


@pytest.mark.parametrize("prompt", ["Tell a long story.", "word " * 480])
def test_ctrl_c(command, prompt) -> None:
    """While it writes, and while it reads the prompt."""
    with subprocess.Popen(
        **command(prompt, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert json.loads(child.stdout.readline())["event"] == "start"
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        lines = child.stdout.read().splitlines()
        assert child.wait(timeout=600) == 130
        assert time.monotonic() - sent < 30
        assert child.stderr.read().count("Traceback") == 0
    assert json.loads(lines[-1])["reason"] == "cancelled"


def on_terminal(command, *words, term="xterm"):
    """What a terminal of 80 columns gets."""
    ours, theirs = pty.openpty()
    options = command(*words)
    options["env"] = {**options["env"], "TERM": term}
    with subprocess.Popen(
        **options, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, close_fds=True
    ) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other side has closed
                break
            if not part:
                break
            seen += part
        os.close(ours)
        assert child.wait(timeout=600) == 0
    return seen.decode()


def test_a_terminal_erases_what_was_taken_back(command) -> None:
    words = (
        "Hi",
        *ALWAYS,
        "--prefill",
        "First.\n\nSecond.\n\nThird",
        "--hold-back",
        "0",
        "--max-resets",
        "0",
    )
    seen = on_terminal(command, *words)
    assert seen.count("\x1b[J") == 1 and "Draft taken back." in seen
    assert "Third" not in seen, "its paragraph was never whole"
    for plain in (on_terminal(command, *words, "--plain"), on_terminal(command, *words, term="dumb")):
        assert "\x1b" not in plain and "Taken back." in plain


def test_never_shown_drafts_are_not_in_memory(command) -> None:
    """A process that has answered is searched for the text that its model wrote and took back unseen."""
    words = ["Write a Python program and name its files.", "--temperature", "0", "--reset-token", RESET]
    told = events(run(command, *words, "--json", "--after-reset", "off", "--max-tokens", "12"))[-1]["text"]
    options = command(*words, "--max-resets", "0", "--hold-back", "64", "--reset-bias", "13")
    wait = "import sys; from assistant.cli import main; main(sys.argv[1:]); print('END', flush=True); input()"
    options["args"] = [sys.executable, "-c", wait, *options["args"][3:]]
    with subprocess.Popen(
        **options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == "END\n", "it took back everything"
        canary = told[:30]
        assert len(canary) == 30
        needles = {name: canary.encode(name) for name in ("utf-8", "utf-16-le", "utf-32-le")}
        hits = count_in_memory(child.pid, needles | {"known": words[0].encode()})
        child.stdin.close()
        child.wait(timeout=600)
    assert hits.pop("known") > 0, "the search finds what is there"
    assert hits == {"utf-8": 0, "utf-16-le": 0, "utf-32-le": 0}


@pytest.mark.parametrize("words", [["--help"], ["ask", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words) -> None:
    code = (
        "import sys; from assistant.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as e: assert e.code == 0\n"
        f"print('LOADED', [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")


def test_an_unknown_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "assistant.cli", "no\x1bsuch"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no such command" in done.stderr and "\x1b" not in done.stderr
