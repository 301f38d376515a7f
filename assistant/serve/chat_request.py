"""The body of a chat completion: what may be asked for, and what is refused rather than passed over."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from assistant.engine.message import Message, check_messages
from assistant.engine.options import GenerateOptions
from assistant.serve.refused import Refused
from convert.errors import TakebackError

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MAX_STOPS = 16
_SEEDS = 1 << 32

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "grammar": ("",),
    "json_schema": ({},),
}
"""Fields that would change the reply, and are not supported, with the values that ask for nothing."""


@dataclass(frozen=True)
class ChatRequest:
    """A conversation that waits for a reply, and how the reply is wanted.

    `stream` asks for server-sent events, `early` for text before the reply is done, `usage` for a last event
    with the counts of tokens.
    """

    messages: list[Message]
    options: GenerateOptions
    stream: bool
    early: bool
    usage: bool


def parse_chat_request(
    body: bytes, defaults: GenerateOptions, models: Collection[str], *, early: bool
) -> ChatRequest:
    """Read a request's body. What it leaves out is as in `defaults`, and `early` where it asks to stream.

    Fields that are not known are passed over. Raises Refused, with the field that is wrong or not supported.
    """
    fields = _object(body)
    model = _text(fields, "model")
    if model is not None and model not in models:
        message = f"there is no model {model[:80]!r} here; there is {', '.join(models)}"
        raise Refused(404, message, param="model", code="model_not_found")
    for name, values in _HARMLESS.items():
        if fields.get(name) is not None and not any(_same(fields[name], value) for value in values):
            how = f"supported only as {json.dumps(values[0])}" if values else "not supported"
            _refuse(name, f"{name} is {how}; leave it out", code="unsupported_parameter")
    stream = _flag(fields, "stream")
    early = _early(_inner(fields, "takeback"), early)
    stream_options = _inner(fields, "stream_options")
    messages = _messages(fields.get("messages"))
    return ChatRequest(
        messages,
        _options(fields, defaults),
        stream=stream,
        early=stream and early,
        usage=_flag(stream_options, "include_usage"),
    )


def _same(value: object, other: object) -> bool:
    """Equality in JSON, where true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):  # its message may quote the body, which is the user's
        raise Refused(400, "the body is not valid JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse(param: str, message: str, code: str | None = None) -> NoReturn:
    raise Refused(400, message, param=param, code=code)


def _messages(values: Any) -> list[Message]:  # noqa: ANN401 (any JSON)
    if not isinstance(values, list):
        _refuse("messages", "messages must be a list of objects with role and content")
    messages = [_message(number, value) for number, value in enumerate(values)]
    try:
        check_messages(messages)
    except TakebackError as error:
        _refuse("messages", str(error))
    return messages


def _message(number: int, value: Any) -> Message:  # noqa: ANN401 (any JSON)
    where = f"messages[{number}]"
    if not isinstance(value, dict):
        _refuse(where, f"{where} must be an object with role and content")
    role = value.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        _refuse(f"{where}.role", f"{where}.role must be one of {', '.join(_ROLES)}")
    for name in ("tool_calls", "function_call", "audio"):
        if value.get(name):
            _refuse(f"{where}.{name}", f"{where}.{name} is not supported", code="unsupported_parameter")
    return Message(_ROLES[role], _content(value.get("content"), f"{where}.content"))


def _content(value: Any, where: str) -> str:  # noqa: ANN401 (any JSON)
    """Text, or OpenAI's list of parts, all of which must be text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        _refuse(where, f"{where} must be text")
    texts = []
    for part in value:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            _refuse(where, f"{where} may hold parts of text only; this model reads nothing else")
        texts.append(text)
    return "".join(texts)


def _options(fields: dict[str, Any], defaults: GenerateOptions) -> GenerateOptions:
    longest = _whole(fields, "max_completion_tokens")
    chosen: dict[str, Any] = {
        "temperature": _number(fields, "temperature"),
        "top_p": _number(fields, "top_p"),
        "min_p": _number(fields, "min_p"),
        "max_tokens": _whole(fields, "max_tokens") if longest is None else longest,
        "stop": _stops(fields.get("stop")),
    }
    seed = _whole(fields, "seed")
    if seed is not None:
        chosen["seed"] = seed % _SEEDS  # OpenAI's are any 64 bits, negative ones too
    try:
        return replace(defaults, **{name: value for name, value in chosen.items() if value is not None})
    except TakebackError as error:
        raise Refused(400, str(error)) from error


def _early(ours: dict[str, Any], default: bool) -> bool:
    how = _text(ours, "stream")
    if how not in (None, "whole", "settled"):
        _refuse("takeback.stream", "takeback.stream must be whole or settled")
    return default if how is None else how == "settled"


def _stops(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401 (any JSON)
    if value is None:
        return None
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        _refuse("stop", "stop must be a text or a list of texts, none of them empty")
    if len(stops) > _MAX_STOPS:
        _refuse("stop", f"stop may hold at most {_MAX_STOPS} texts")
    return tuple(stops)


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        _refuse(name, f"{name} must be text")
    return value


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        _refuse(name, f"{name} must be true or false")
    return bool(value)


def _inner(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        _refuse(name, f"{name} must be an object")
    return value or {}


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        _refuse(name, f"{name} must be a number")
    return value


def _whole(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        _refuse(name, f"{name} must be a whole number")
    return value
