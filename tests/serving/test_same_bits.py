"""A request among many others gets, byte for byte, the answer that it gets alone."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.http_server import Answer, Server

WORDS = ["the", "red", "fruit", "is", "a", "it", "<eos>"]


def some_request(draw: random.Random) -> tuple[str, dict[str, Any]]:
    text = " ".join(draw.choice(WORDS) for _ in range(draw.randrange(12)))
    if draw.random() < 0.2:
        lines = [" ".join(draw.choices(WORDS[:-1], k=draw.randrange(1, 9))) for _ in range(draw.randrange(1, 20))]
        return "/score", {"lines": lines, "predictions": draw.random() < 0.5}
    if draw.random() < 0.1:
        return "/rescore", {"hypotheses": [{"text": f"the {word}", "acoustic": -draw.random()} for word in WORDS[:-1]]}
    return "/v1/completions", {
        "prompt": draw.choice([text, [text, "it"], [[3, 6, 4]]]),
        "max_tokens": draw.randrange(40),
        "seed": draw.randrange(2**40),
        **draw.choice([{}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8, "n": 2}, {"repetition_penalty": 1.3}]),
        **draw.choice([{}, {"logprobs": 0}, {"logprobs": 3, "echo": True}, {"stop": ["a", "red fruit"]}]),
        **draw.choice([{}, {"stream": True, "stream_options": {"include_usage": True}}]),
    }


def settled(answer: Answer) -> Any:
    """What of an answer must not depend on company: all of it, but the id, the time, and how a stream is cut."""
    assert answer.status == 200, answer.body
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return without_time(json.loads(answer.body, object_pairs_hook=list))
    *events, last = answer.events
    texts: dict[int, list[Any]] = {}
    for event in events:
        for choice in event["choices"]:
            logprobs = choice["logprobs"] and list(zip(*choice["logprobs"].values(), strict=True))
            texts.setdefault(choice["index"], []).append((choice["text"], logprobs, choice["finish_reason"]))
    joined = {
        index: (
            "".join(text for text, _, _ in parts),
            [each for _, some, _ in parts for each in some or ()],
            parts[-1][2],
        )
        for index, parts in texts.items()
    }
    return joined, last["usage"]


def without_time(pairs: Any) -> str:
    return json.dumps([pair for pair in pairs if pair[0] not in ("id", "created")])


def test_fifty_requests_at_once_get_the_answers_that_each_gets_alone(server: Server) -> None:
    draw = random.Random(11)
    requests = [some_request(draw) for _ in range(50)]

    def send(request: tuple[str, dict[str, Any]]) -> Any:
        path, fields = request
        return settled(server.post(path, **fields))

    alone = [send(each) for each in requests]
    with ThreadPoolExecutor(50) as pool:
        together = list(pool.map(send, requests))
    for request, first, second in zip(requests, alone, together, strict=True):
        assert second == first, request
