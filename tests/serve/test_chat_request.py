"""What a request's body may ask for."""

import json

import pytest

from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.serve.chat_request import parse_chat_request
from assistant.serve.refused import Refused

ASK = [{"role": "user", "content": "hi"}]
DEFAULTS = GenerateOptions(temperature=0.5, max_tokens=7)


def parse(early=False, **fields):
    body = json.dumps({"messages": ASK, **fields}).encode()
    return parse_chat_request(body, DEFAULTS, ("tiny", "default"), early=early)


def test_what_is_left_out_or_null_is_the_servers_default():
    request = parse(temperature=None, stop=None, stream=None, model=None, tools=None)
    assert request.messages == [Message("user", "hi")]
    assert request.options == DEFAULTS
    assert not (request.stream or request.early or request.usage)


def test_what_a_request_may_choose():
    request = parse(
        model="tiny", temperature=0, top_p=0.5, min_p=0.25, max_tokens=3, max_completion_tokens=4, seed=-1,
        stop=["x", "y"], stream=True, stream_options={"include_usage": True}, a_new_field={"any": 1},
        n=1, tools=[], response_format={"type": "text"}, frequency_penalty=0.0,
    )  # fmt: skip
    options = request.options
    assert (options.temperature, options.top_p, options.min_p, options.max_tokens) == (0, 0.5, 0.25, 4)
    assert (options.seed, options.stop) == (0xFFFF_FFFF, ("x", "y"))
    assert request.stream and request.usage and not request.early


@pytest.mark.parametrize(
    ("flag", "fields", "early"),
    [
        (False, {"stream": True}, False),
        (True, {"stream": True}, True),
        (False, {"stream": True, "takeback": {"stream": "settled"}}, True),
        (True, {"stream": True, "takeback": {"stream": "whole"}}, False),
        (True, {}, False),
        (False, {"takeback": {"stream": "settled"}}, False),
    ],
)
def test_early_text_must_be_asked_for(flag, fields, early):
    assert parse(early=flag, **fields).early == early


def test_developer_is_system_and_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = parse(messages=[{"role": "developer", "content": parts}, *ASK])
    assert request.messages[0] == Message("system", "ab")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [*ASK, {"role": "assistant", "content": "yes"}]}, "messages"),
        ({"messages": [*ASK, {"role": "system", "content": "late"}, *ASK]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": [1]}]}, "messages[0].tool_calls"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, None),
        ({"temperature": 10**400}, None),
        ({"max_tokens": 10**400}, None),
        ({"max_tokens": 0}, None),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", 1]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"takeback": {"stream": "now"}}, "takeback.stream"),
        ({"takeback": True}, "takeback"),
        ({"model": 4}, "model"),
    ],
)
def test_what_is_refused(fields, param):
    with pytest.raises(Refused) as refused:
        parse(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert "\n" not in refused.value.message


def test_another_model_is_not_here():
    with pytest.raises(Refused, match="there is tiny") as refused:
        parse(model="gpt-x")
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"messages": NaN}', b"[" * 100_000, b"9" * 5_000, b'{"a": "secret'],
)
def test_no_json(body):
    with pytest.raises(Refused) as refused:
        parse_chat_request(body, DEFAULTS, ("tiny",), early=False)
    assert refused.value.status == 400
    assert "secret" not in refused.value.message
