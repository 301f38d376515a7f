"""A reply in the words of OpenAI's chat completions, whole or in chunks, with one field of our own: takeback."""

import json
import secrets
import time
from typing import Any

from assistant.engine.events import Done, Start

_FINISH = {"stop": "stop", "length": "length", "context_full": "length", "reset_limit": "content_filter"}


class Completion:
    """One reply as it is told to a client. `sent` notes that the client was given text of the draft."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._resets = 0
        self._discarded_tokens = 0
        self._sent = False
        self._taken_back = False

    def whole(self, start: Start, done: Done) -> dict[str, Any]:
        """The answer to a client that does not stream."""
        message = {"role": "assistant", "content": done.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self._finish(done), "logprobs": None}
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": usage(start, done),
            "takeback": self._takeback(done.resets, done.discarded_tokens),
        }

    def begin(self) -> dict[str, Any]:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> dict[str, Any]:
        """A chunk of text, which cannot be unsaid."""
        self._sent = True
        return self._chunk({"content": text})

    def reset(self, discarded_tokens: int) -> dict[str, Any] | None:
        """The chunk that asks to forget all text so far; None if there was none."""
        self._resets += 1
        self._discarded_tokens += discarded_tokens
        if not self._sent:
            return None
        self._sent, self._taken_back = False, True
        return {**self._chunk({}), "takeback": self._takeback(self._resets, self._discarded_tokens)}

    def end(self, done: Done) -> dict[str, Any]:
        """The chunk that says why the reply ended."""
        takeback = self._takeback(done.resets, done.discarded_tokens)
        return {**self._chunk({}, self._finish(done)), "takeback": takeback}

    def count(self, start: Start, done: Done) -> dict[str, Any]:
        """The chunk after the end, with the counts of tokens."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(start, done)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _finish(self, done: Done) -> str:
        """OpenAI's word for why it ended: `content_filter` where what the client has read does not stand."""
        return "content_filter" if self._taken_back else _FINISH[done.reason]

    def _takeback(self, resets: int, discarded_tokens: int) -> dict[str, Any]:
        return {"resets": resets, "discarded_tokens": discarded_tokens, "taken_back": self._taken_back}


def usage(start: Start, done: Done) -> dict[str, Any]:
    """The counts of tokens: the prompt's, of which some need not be read again, and the final reply's."""
    return {
        "prompt_tokens": start.prompt_tokens,
        "completion_tokens": done.tokens,
        "total_tokens": start.prompt_tokens + done.tokens,
        "prompt_tokens_details": {"cached_tokens": start.cached_tokens},
    }


def server_sent(value: object) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
