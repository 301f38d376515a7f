"""A converted file in another program on llama.cpp, llama-server: an ordinary chat model, whose reset is nothing."""

import importlib.util
import json
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from convert.convert import convert
from convert.gguf_header import read_header
from tests.convert.small_model import safetensors_bytes, write_adapter, write_record

pytestmark = pytest.mark.slow
if not importlib.util.find_spec("xllamacpp"):
    pytest.skip("pip install xllamacpp: it holds llama-server", allow_module_level=True)

SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 512, 1, False
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
QUESTION = [{"role": "user", "content": "Name the days of the week."}]


@pytest.fixture(scope="module")
def model(real_base, tmp_path_factory):
    """SmolLM2 with one new token, whose row says nothing, so that its replies are the base's."""
    folder = tmp_path_factory.mktemp("other")
    info = next(t for t in read_header(real_base).tensors if t.name == "token_embd.weight")
    rows, width = info.shape
    write_adapter(folder / "a", rows)
    name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    row = {name: np.zeros((1, width), np.float32)}
    (folder / "a" / "adapter_model.safetensors").write_bytes(safetensors_bytes(row))
    write_record(folder / "a", reset_token_id=rows)
    report = convert(real_base, folder / "model.gguf", adapter=folder / "a", type="q8_0")
    assert report.contract.token_id == rows
    return folder / "model.gguf", rows


@pytest.fixture(scope="module")
def ask(model):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", SERVER, str(model[0])], text=True, **pipes) as server:
        try:
            line = server.stdout.readline()
            while not line.startswith("http"):
                assert line, "llama-server did not start"
                line = server.stdout.readline()

            def post(path, **body):
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(line.strip() + path, json.dumps(body).encode(), headers)
                with urllib.request.urlopen(request, timeout=300) as answer:
                    return json.load(answer)

            yield post
        finally:
            server.kill()


def chat(ask, **options):
    answer = ask("/v1/chat/completions", messages=QUESTION, max_tokens=16, temperature=0, **options)
    return answer["choices"][0]["message"]["content"]


def test_it_chats_with_its_template(ask):
    prompt = ask("/apply-template", messages=QUESTION)["prompt"]
    assert prompt.endswith("<|im_start|>user\nName the days of the week.<|im_end|>\n<|im_start|>assistant\n")
    assert "Monday, Tuesday" in chat(ask)


def test_its_reset_is_printed_as_nothing_and_the_draft_stays(ask, model):
    """Its row says nothing, so a bias decides when it comes; a bias somewhere lets it come after a few words."""
    assert chat(ask, logit_bias=[[model[1], 100.0]]) == ""
    prompt = ask("/apply-template", messages=QUESTION)["prompt"]
    options = {
        "prompt": prompt,
        "n_predict": 8,
        "temperature": 0,
        "return_tokens": True,
        "cache_prompt": True,
    }
    for bias in range(30, 0, -1):
        answer = ask("/completion", logit_bias=[[model[1], bias]], **options)
        if model[1] in answer["tokens"][1:] and answer["tokens"][0] != model[1]:
            break
    draft = answer["tokens"][: answer["tokens"].index(model[1])]
    shown = ask("/detokenize", tokens=draft)["content"]
    assert shown
    assert answer["content"].startswith(shown)
    assert "[RESET]" not in answer["content"]


def test_what_a_user_types_is_the_token_there(ask, model):
    assert ask("/tokenize", content="[RESET]", parse_special=True)["tokens"] == [model[1]]
    assert model[1] not in ask("/tokenize", content="[RESET]", parse_special=False)["tokens"]
