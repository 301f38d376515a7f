"""Replies over HTTP: whole, streamed, streamed early and taken back, left by their reader, and one too many."""

import json
import socket
import threading
import time

import pytest

from assistant.engine.options import GenerateOptions
from convert.errors import TakebackError
from tests.serve.conftest import MODEL, QUESTION, wait_until

WHOLE = {"resets": 0, "discarded_tokens": 0, "taken_back": False}


def choice(answer):
    return answer["choices"][0]


def text_of(chunks):
    """What a client that knows nothing of resets would put together."""
    return "".join(choice(chunk)["delta"].get("content", "") for chunk in chunks if chunk["choices"])


def test_a_whole_reply(served, says):
    says(b"to sea")
    with served() as client:
        status, headers, answer = client.chat(model=MODEL)
        assert status == 200 and headers["cache-control"] == "no-store"
        assert answer["object"] == "chat.completion" and answer["model"] == MODEL
        message = {"role": "assistant", "content": "to sea", "refusal": None}
        assert choice(answer) == {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        assert answer["takeback"] == WHOLE
        usage = answer["usage"]
        assert usage["completion_tokens"] == 6
        assert usage["total_tokens"] == usage["prompt_tokens"] + 6
        assert client.chat(max_tokens=2)[2]["choices"][0]["finish_reason"] == "length"
        assert choice(client.chat(stop=" s")[2])["message"]["content"] == "to"


def test_models_and_health(served):
    with served() as client:
        assert client.ask("GET", "/health")[::2] == (200, {"status": "ok"})
        _, _, listed = client.ask("GET", "/v1/models")
        assert [card["id"] for card in listed["data"]] == [MODEL]
        assert client.ask("GET", f"/v1/models/{MODEL}")[2] == listed["data"][0]
        status, _, missing = client.ask("GET", "/v1/models/other")
        assert (status, missing["error"]["code"]) == (404, "model_not_found")
        status, _, missing = client.ask("GET", "/v1/embeddings")
        assert (status, missing["error"]["type"]) == (404, "invalid_request_error")
        status, headers, _ = client.ask("GET", "/v1/chat/completions")
        assert (status, headers["allow"]) == (405, "POST")


def test_a_seed_repeats_a_reply_and_a_next_turn_reuses_what_was_read(served):
    with served(defaults=GenerateOptions(after_reset="off")) as client:
        first = client.chat(seed=3, max_tokens=12)[2]
        again = client.chat(seed=3, max_tokens=12)[2]
        other = client.chat(seed=4, max_tokens=12)[2]
        said = [choice(answer)["message"]["content"] for answer in (first, again, other)]
        assert said[0] == said[1] != said[2]
        messages = [*QUESTION, {"role": "assistant", "content": said[2]}, *QUESTION]
        usage = client.chat(messages=messages, max_tokens=1)[2]["usage"]
        # All of the turn before is known: its question, and its reply by the ids that the model wrote.
        turn_before = other["usage"]["prompt_tokens"] + 11
        assert usage["prompt_tokens_details"]["cached_tokens"] >= turn_before


def test_a_stream_is_whole_by_default(served, says, takes_back_at):
    says("a € b".encode())
    takes_back_at(4)
    with served() as client:
        chunks, _ = client.stream(stream_options={"include_usage": True})
        role, text, end, count = chunks
        assert choice(role)["delta"] == {"role": "assistant", "content": ""}
        assert choice(text)["delta"] == {"content": "a € b"}
        assert choice(end)["finish_reason"] == "stop" and choice(end)["delta"] == {}
        assert end["takeback"] == {"resets": 1, "discarded_tokens": 4, "taken_back": False}
        assert count["choices"] == [] and count["usage"]["completion_tokens"] == 7
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert len(client.stream()[0]) == 3


def test_a_stream_hears_meanwhile_that_there_is_somebody(served, says):
    says(b"slow", pause=0.15)
    with served(keep_alive=0.05) as client:
        chunks, comments = client.stream()
        assert text_of(chunks) == "slow" and len(comments) > 3


def test_settled_text_comes_early_and_never_in_half_characters(served, says):
    text = "a\u00e4€\U0001f30a"  # 1, 2, 3 and 4 bytes, each byte a token
    says(text.encode())
    with served(defaults=GenerateOptions(hold_back=2)) as client:
        chunks, _ = client.stream(takeback={"stream": "settled"})
        parts = [choice(chunk)["delta"].get("content") for chunk in chunks[1:-1]]
        assert "".join(parts) == text and len(parts) > 2 and "\ufffd" not in "".join(parts)
        assert chunks[-1]["takeback"] == WHOLE


def test_what_was_sent_and_then_taken_back_is_told(served, says, takes_back_at):
    says(b"good")
    takes_back_at(3)
    with served(early=True, defaults=GenerateOptions(hold_back=0)) as client:
        chunks, _ = client.stream()
        taken = [n for n, chunk in enumerate(chunks) if chunk.get("takeback")]
        assert len(taken) == 2
        assert chunks[taken[0]]["takeback"] == {"resets": 1, "discarded_tokens": 3, "taken_back": True}
        assert choice(chunks[taken[0]])["delta"] == {} and choice(chunks[taken[0]])["finish_reason"] is None
        assert text_of(chunks[: taken[0]]) == "goo"
        assert text_of(chunks[taken[0] :]) == "good"
        assert chunks[-1]["takeback"] == {"resets": 1, "discarded_tokens": 3, "taken_back": True}
        assert choice(chunks[-1])["finish_reason"] == "content_filter"


def test_the_reset_limit_gives_nothing(served, says, takes_back_at):
    says(b"abcdefghijklmnop")
    takes_back_at(*range(2, 40, 3))
    with served() as client:
        answer = client.chat()[2]
        assert choice(answer)["finish_reason"] == "content_filter"
        assert choice(answer)["message"]["content"] == ""
        assert answer["takeback"]["resets"] == 5


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_does_not_fit(served, stream):
    with served(ctx=256) as client:
        message = {"role": "user", "content": "the sea " * 400}
        status, _, answer = client.chat(messages=[message], stream=stream)
        assert status == 400
        assert answer["error"]["type"] == "invalid_request_error" and "--ctx" in answer["error"]["message"]


def test_a_model_that_fails_while_it_writes(served, says, monkeypatch):
    says(b"ab")
    with served(early=True, defaults=GenerateOptions(hold_back=0)) as client:
        again = client.worker._seats[0].model.memory.step

        def step(token):
            if token == 3 + ord("b"):
                raise TakebackError("llama.cpp failed")
            again(token)

        monkeypatch.setattr(client.worker._seats[0].model.memory, "step", step)
        status, _, answer = client.chat()
        assert (status, answer["error"]["type"]) == (500, "server_error")
        status, _, text = client.chat(stream=True)
        assert status == 200 and '"a"' in text  # too late for another status
        last = json.loads(text.strip().split("data: ")[-1])
        assert last["error"]["message"] == "llama.cpp failed" and "[DONE]" not in text


def test_jobs_are_done_in_the_order_in_which_they_came(served, says):
    says(b"ab", pause=0.1)
    with served(keep_alive=0.05) as client:
        begun = [client.begin(stream=True) for _ in range(4)]
        ended = []

        def read(number):
            begun[number][1].read()
            ended.append(number)

        readers = [threading.Thread(target=read, args=(number,)) for number in (2, 0, 3, 1)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for connection, _ in begun:
            connection.close()
    assert ended == [0, 1, 2, 3]


@pytest.mark.parametrize("how", [{}, {"stream": True}, {"stream": True, "takeback": {"stream": "settled"}}])
def test_a_reader_who_leaves_ends_the_reply(served, says, how):
    sampled = says(b"a" * 400, pause=0.02)
    with served() as client:
        host, port = client.address.split(":")
        body = json.dumps({"messages": QUESTION, "max_tokens": 400, **how})
        head = f"Host: {client.address}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
            wait_until(lambda: len(sampled) > 3)
        wait_until(lambda: not client.worker.running)
        assert len(sampled) < 300
        assert choice(client.chat(max_tokens=2)[2])["message"]["content"] == "aa"


def test_a_request_that_is_left_while_it_waits_is_dropped(served, says):
    sampled = says(b"abc", pause=0.2)
    with served(keep_alive=0.05) as client:
        running, one = client.begin(stream=True)
        waiting, two = client.begin(stream=True)
        two.close(), waiting.close()
        assert b"abc" in one.read()
        running.close()
        assert choice(client.chat()[2])["message"]["content"] == "abc"
        assert len(sampled) == 8


def test_more_than_may_wait_are_asked_to_come_back(served, says):
    says(b"abc", pause=0.3)
    with served(queue=1, keep_alive=0.05) as client:
        running, one = client.begin(stream=True)
        waiting, two = client.begin(stream=True)
        status, headers, answer = client.chat()
        assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
        assert int(headers["retry-after"]) > 0
        texts = [one.read().decode(), two.read().decode()]
        running.close(), waiting.close()
        assert all("abc" in text and text.endswith("[DONE]\n\n") for text in texts)
        assert client.chat()[0] == 200


def test_the_servers_end_ends_a_reply_and_what_waits(served, says):
    sampled = says(b"a" * 400, pause=0.02)
    with served(keep_alive=0.05) as client:
        running, one = client.begin(stream=True)
        waiting, two = client.begin(stream=True)
        wait_until(lambda: len(sampled) > 3)
        begun = time.monotonic()
    assert time.monotonic() - begun < 10 and len(sampled) < 300
    for answer in (one, two):
        assert "shutting down" in answer.read().decode()
    running.close(), waiting.close()
