"""Neither text nor ids of a draft that was never shown are left in the process, once it is taken back."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from tests.memory_search import count_in_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no /proc to search")

TOKENS = 40
QUESTION = "Tell me about the sea."
MARK = (7, 77, 777, 7_777, 17_777)
"""Ids that the child keeps, so that the search must find them."""
CHILD = """
import ctypes, sys
from pathlib import Path
import assistant.engine.session as session_module
from assistant.engine.generate import ResetRule
from assistant.engine.session import Session
from tests.engine.test_traces import MARK, QUESTION, TOKENS, options
from assistant.engine.message import Message
from assistant.engine.options import LoadOptions

class AfterAll(ResetRule):
    def fires(self, model):
        super().fires(model)
        vars(self)["checks"] = vars(self).get("checks", 0) + 1
        return vars(self)["checks"] == TOKENS + 1

session_module.ResetRule = AfterAll
path, token, after = sys.argv[1:]
kept = (ctypes.c_int32 * len(MARK))(*MARK)
with Session.open(Path(path), LoadOptions(ctx=512, threads=1, reset_token=token)) as session:
    *_, done = session.generate([Message("user", QUESTION)], options(max_tokens=60, after_reset=after))
    print(done.reason, done.discarded_tokens, flush=True)
    sys.stdin.readline()
print("closed", flush=True)
sys.stdin.readline()
"""


def options(**more) -> GenerateOptions:
    """Greedy, with every sampler that remembers ids, and all held back; one reset ends the reply."""
    return GenerateOptions(
        seed=1, temperature=0, hold_back=64, repeat_penalty=1.1, dry=0.8, max_resets=0, **more
    )


@pytest.mark.parametrize("after", ["rewind", pytest.param("keep", marks=pytest.mark.slow)])
def test_neither_text_nor_ids_of_a_draft_never_shown_are_in_memory(base_model, session, after) -> None:
    from tests.engine.conftest import RESET

    *_, told = session.generate([Message("user", QUESTION)], options(max_tokens=TOKENS, after_reset="off"))
    text, ids = told.text[10:34], told.ids[10:15]
    assert len(text) == 24 and len(ids) == 5
    needles = {name: text.encode(name) for name in ("utf-8", "utf-16-le", "utf-32-le")}
    needles |= {kind: struct.pack(f"<5{kind}", *ids) for kind in "iq"}
    known = {"text": QUESTION.encode(), "ids": struct.pack("<5i", *MARK)}
    command = [sys.executable, "-c", CHILD, str(base_model), RESET, after]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as child:
        assert child.stdout.readline() == f"reset_limit {TOKENS}\n"
        before = count_in_memory(child.pid, needles | known)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "closed\n"
        closed = count_in_memory(child.pid, needles | known)
        child.stdin.close()
    assert all(before[name] and closed[name] for name in known), "the search finds what is there"
    assert {name: (before[name], closed[name]) for name in needles} == dict.fromkeys(needles, (0, 0))
