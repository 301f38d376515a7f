"""Several requests at a time: who is answered where, and that nobody has to wait for nothing."""

import json
import threading
from types import SimpleNamespace

import pytest

from assistant.engine.events import Done, Start
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.serve.worker import Job, Worker
from tests.serve.conftest import QUESTION, wait_until


def content(answer):
    return answer["choices"][0]["message"]["content"]


def at_once(client, *requests):
    """The answers to requests that are sent at the same time."""
    answers = [None] * len(requests)

    def ask(number):
        answers[number] = client.chat(**requests[number])[2]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("count", [2, 4])
def test_replies_at_once_are_those_one_by_one(served, count):
    words = ("the sea", "a the sea", "sea sea the", "the the the")[:count]
    requests = [
        {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 30}
        for text in words
    ]
    with served(parallel=count) as client:
        one_by_one = [content(client.chat(**request)[2]) for request in requests]
        assert list(map(content, at_once(client, *requests))) == one_by_one
    assert len(set(one_by_one)) > 1


def test_two_are_answered_at_a_time_and_a_third_waits(served, says):
    says(b"a" * 40, pause=0.02)
    with served(parallel=2, queue=1, keep_alive=0.05) as client:
        begun = [client.begin(stream=True) for _ in range(3)]
        wait_until(lambda: client.worker.running == 2)
        status, _, answer = client.chat()
        assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
        ended = [answer.read().decode().endswith("[DONE]\n\n") for _, answer in begun]
        assert ended == [True] * 3
        for connection, _ in begun:
            connection.close()


def test_a_reader_who_leaves_frees_a_place_and_the_other_reads_on(served, says):
    sampled = says(b"ab" * 100, pause=0.01)
    with served(parallel=2, queue=0, defaults=GenerateOptions(seed=1, max_tokens=200)) as client:
        other, reader = client.begin(stream=True)
        leaver, left = client.begin(stream=True, takeback={"stream": "settled"})
        wait_until(lambda: len(sampled) > 10)
        left.close(), leaver.close()
        wait_until(lambda: client.worker.running == 1)
        assert content(client.chat(max_tokens=4)[2]) == "abab"
        assert "ab" * 100 in reader.read().decode()
        other.close()


def test_what_is_taken_back_in_one_is_in_no_other(served, says, takes_back_at):
    says(b"good")
    takes_back_at(3)  # in each of them
    with served(parallel=2, early=True, defaults=GenerateOptions(hold_back=0, seed=1)) as client:
        texts = [None, None]

        def stream(number):
            texts[number] = client.stream()[0]

        threads = [threading.Thread(target=stream, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for chunks in texts:
        said = [json.dumps(chunk["choices"][0]["delta"].get("content")) for chunk in chunks]
        assert said == ['""', '"g"', '"o"', '"o"', "null", '"g"', '"o"', '"o"', '"d"', "null"]
        assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_next_turn_goes_where_the_last_one_was(served):
    with served(parallel=2, defaults=GenerateOptions(after_reset="off", max_tokens=12)) as client:
        chats = [[*QUESTION], [{"role": "user", "content": "sea sea sea"}]]
        counts = []
        for _turn in range(3):
            for chat in chats:
                answer = client.chat(messages=chat)[2]
                counts.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
                chat += [{"role": "assistant", "content": content(answer)}, *QUESTION]
        # Each chat's turns follow each other in one place: all but the new question is known.
        assert counts[0] < 5 and counts[1] < 5 and min(counts[2:4]) > 20 and min(counts[4:]) > 40


def test_the_servers_end_ends_all(served, says):
    sampled = says(b"a" * 400, pause=0.01)
    with served(parallel=2, keep_alive=0.05, defaults=GenerateOptions(max_tokens=400)) as client:
        begun = [client.begin(stream=True) for _ in range(3)]
        wait_until(lambda: len(sampled) > 6)
    for connection, answer in begun:
        assert "shutting down" in answer.read().decode()
        connection.close()
    assert len(sampled) < 700


class FakeModel:
    """Says nothing, and takes until `ready` is set to get ready for the next turn."""

    info = SimpleNamespace(vocab_sha256="0")

    def __init__(self):
        self.ready = threading.Event()
        self.asked = []

    def generate(self, messages, _options=None):
        self.asked.append(messages[-1].content)
        yield Start("fake", 1, 0, True)
        yield Done("stop", "", 0, 0, 0, None, None)
        self.ready.wait(30)

    def cancel(self):
        pass

    def close(self):
        pass


def test_a_next_turn_waits_for_the_place_that_gets_ready_for_it():
    models = [FakeModel(), FakeModel()]
    worker = Worker(models, queue=4)
    worker.start()
    heard = []

    def ask(*words):
        worker.submit(Job([Message("user", text) for text in words], GenerateOptions(), heard.append))

    ask("one")
    wait_until(lambda: len(heard) == 2)
    ask("one", "two")
    ask("other")  # after it, in the order in which they came
    assert not models[1].asked
    models[0].ready.set()
    wait_until(lambda: len(heard) == 6)
    assert (models[0].asked, models[1].asked) == (["one", "two"], ["other"])
    models[1].ready.set()
    worker.stop()
    assert worker.join(30)


def test_a_request_that_is_cancelled_before_it_begins_is_dropped():
    model = FakeModel()
    worker = Worker([model], queue=4)
    jobs = [Job([Message("user", text)], GenerateOptions(), lambda event: None) for text in "ab"]
    for job in jobs:
        worker.submit(job)
    worker.cancel(jobs[0])
    model.ready.set()
    worker.start()
    wait_until(lambda: model.asked)
    assert model.asked == ["b"]
    worker.stop()
    assert worker.join(30)
