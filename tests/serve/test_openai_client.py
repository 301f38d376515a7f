"""OpenAI's own client, which other programs build on."""

import pytest

from tests.serve.conftest import MODEL, QUESTION

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow  # the client alone takes seconds to load

TOKEN = "0123456789abcdef"


@pytest.fixture
def client(served):
    with served(token=TOKEN, keep_alive=0.05, queue=0) as server:
        url = f"http://{server.address}/v1"
        with openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client:
            yield client


def test_replies_whole_and_streamed(client, says):
    says("sea €".encode(), pause=0.05)
    assert [model.id for model in client.models.list()] == [MODEL]
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0.5, seed=7, n=1)
    assert whole.choices[0].message.content == "sea €" and whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 7
    assert whole.model_extra["takeback"]["resets"] == 0
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "sea €"
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage.completion_tokens == 7


def test_what_was_taken_back_can_be_read(client, says, takes_back_at):
    says(b"good" * 20)
    takes_back_at(60)
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, extra_body={"takeback": {"stream": "settled"}}
    )
    text = ""
    for chunk in stream:
        if chunk.choices[0].finish_reason is None and (chunk.model_extra or {}).get("takeback"):
            text = ""
        text += chunk.choices[0].delta.content or ""
    assert chunk.choices[0].finish_reason == "content_filter"
    assert chunk.model_extra["takeback"] == {"resets": 1, "discarded_tokens": 60, "taken_back": True}
    assert text == "good" * 16  # 64 tokens at most


def test_errors_are_the_clients_own(client, says):
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        create(model="gpt-x", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="tools is supported only as"):
        create(model=MODEL, messages=QUESTION, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    says(b"slow", pause=0.3)
    stream = create(model=MODEL, messages=QUESTION, stream=True)
    with pytest.raises(openai.RateLimitError, match="wait for the model"):
        create(model=MODEL, messages=QUESTION)
    stream.close()
