"""What clients of other servers send and read: lm-evaluation-harness 0.4.13 byte for byte, and openai's library."""

import json
from typing import Any

import pytest

from recurlm.scoring.scorer import ScoringOptions
from serving.http_server import Server


def harness_scores(server: Server, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """The request and the reading of `local-completions` (lm_eval/models/openai_completions.py)."""
    payload = {
        "model": "fruit",
        "prompt": [context + continuation],
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    answer = server.send("POST", "/v1/completions", json.dumps(payload).encode(), authorization="Bearer ")
    (choice,) = answer.json["choices"]
    values = choice["logprobs"]["token_logprobs"][len(context) : -1]
    tops = choice["logprobs"]["top_logprobs"][len(context) : -1]
    return sum(values), all(value == max(top.values()) for value, top in zip(values, tops, strict=True))


def harness_tokens(server: Server, text: str) -> list[int]:
    """The request of its remote tokenizer (lm_eval/utils.py), which names no model."""
    return server.post("/tokenize", prompt=text, add_special_tokens=False).json["tokens"]


def test_the_harness_finds_the_tokenizer(server: Server) -> None:
    information = server.get("/tokenizer_info").json
    assert information["eos_token"] == "<eos>"
    assert information["bos_token"] is None
    assert harness_tokens(server, "<eos>") == [0]
    assert harness_tokens(server, "test") == [server.model.codec.vocabulary.unknown_id]


def test_the_harness_gets_the_scores_of_score(server: Server) -> None:
    line = server.model.score(["the red fruit is a cherry"])[0]
    context, whole = harness_tokens(server, "the red fruit"), harness_tokens(server, "the red fruit is a cherry")
    value, _ = harness_scores(server, context, whole[len(context) :])
    assert value == sum(line.logprobs[3:-1])


def test_the_eos_that_the_harness_puts_first_is_counted_once(server: Server) -> None:
    lines = ["the red fruit", "it is sweet"]
    scores = server.model.score(lines, options=ScoringOptions(context="carry"))
    expected = [value for line in scores for value in line.logprobs][:-1]
    value, _ = harness_scores(server, [0], harness_tokens(server, "\n".join(lines)))
    assert value == sum(expected)


def test_the_harness_sees_what_is_the_likeliest(server: Server) -> None:
    context = harness_tokens(server, "the red fruit")
    likeliest = server.complete(prompt=context, max_tokens=5, temperature=0, logprobs=0, allow_unk=True)[0]
    ids = [server.model.codec.vocabulary.ids[token] for token in likeliest["logprobs"]["tokens"]]
    assert harness_scores(server, context, ids)[1]
    assert not harness_scores(server, context, [*ids[:-1], harness_tokens(server, "cherry")[0]])[1]


def test_the_harness_generates_until_a_text_or_the_end(server: Server) -> None:
    payload = {
        "prompt": [harness_tokens(server, "the red fruit")],
        "model": "fruit",
        "max_tokens": 40,
        "temperature": 0,
        "stop": ["\n", "<eos>"],
        "seed": 1234,
    }
    (choice,) = server.post("/v1/completions", **payload).json["choices"]
    whole = server.model.generate("the red fruit", tokens=40, temperature=0).whole
    assert choice["index"] == 0
    assert "the red fruit" + choice["text"] == whole.partition("\n")[0]


def client_of(server: Server) -> Any:
    openai = pytest.importorskip("openai", reason="the client is not installed: pip install openai")
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="any", max_retries=0)


def test_openai_s_client_reads_answers_streams_and_errors(server: Server) -> None:
    client = client_of(server)
    fields: dict[str, Any] = {"model": "fruit", "prompt": "the red", "max_tokens": 6, "seed": 1, "logprobs": 2}
    whole = client.completions.create(**fields, echo=True)
    assert whole.choices[0].logprobs.tokens[:2] == ["the", "red"]
    assert whole.usage.total_tokens == 8
    assert [model.id for model in client.models.list()] == ["fruit"]

    events = list(client.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
    assert "the red" + "".join(event.choices[0].text for event in events[:-1]) == whole.choices[0].text
    assert events[-1].usage == whole.usage

    with pytest.raises(Exception, match="no model named 'other' is served") as caught:
        client.completions.create(**fields | {"model": "other"})
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    with pytest.raises(Exception, match="top_k") as caught:
        client.completions.create(**fields, extra_body={"top_k": 0})
    assert caught.value.status_code == 400
