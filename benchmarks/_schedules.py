"""Random requests, and what of their answers must not depend on the company in which they were answered."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any


def some_request(draw: random.Random, words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """A path and a body: a text to continue, lines to score, or an n-best list, with options of every kind."""
    text = " ".join(draw.choices([*words, "<eos>"], k=draw.randrange(12)))
    if draw.random() < 0.2:
        lines = [" ".join(draw.choices(words, k=draw.randrange(1, 9))) for _ in range(draw.randrange(1, 20))]
        return "/score", {"lines": lines, "predictions": draw.random() < 0.5}
    if draw.random() < 0.1:
        some = draw.sample(words, min(5, len(words)))
        return "/rescore", {"hypotheses": [{"text": f"{words[0]} {word}", "acoustic": -draw.random()} for word in some]}
    return "/v1/completions", {
        "prompt": draw.choice([text, [text, words[0]], [[3, 6, 4]]]),
        "max_tokens": draw.randrange(40),
        "seed": draw.randrange(2**40),
        **draw.choice([{}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8, "n": 2}, {"repetition_penalty": 1.3}]),
        **draw.choice([{}, {"logprobs": 0}, {"logprobs": 3, "echo": True}, {"stop": [words[0], " ".join(words[1:3])]}]),
        **draw.choice([{}, {"stream": True, "stream_options": {"include_usage": True}}]),
    }


def settled(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """What must not depend on company: all of an answer, but the id, the time, and how a stream is cut.

    Raises ValueError for an answer that is an error.
    """
    if status != 200:
        raise ValueError(body.decode())
    if not headers["content-type"].startswith("text/event-stream"):
        return without_time(json.loads(body, object_pairs_hook=list))
    *events, done, _ = body.decode().split("\n\n")
    if done != "data: [DONE]":
        raise ValueError("the stream does not end with [DONE]")
    *values, last = (json.loads(event.removeprefix("data: ")) for event in events)
    texts: dict[int, list[Any]] = {}
    for value in values:
        for choice in value["choices"]:
            logprobs = choice["logprobs"] and list(zip(*choice["logprobs"].values(), strict=True))
            texts.setdefault(choice["index"], []).append((choice["text"], logprobs, choice["finish_reason"]))
    return {index: _joined(parts) for index, parts in texts.items()}, last["usage"]


def without_time(pairs: Any) -> str:
    """An object, as pairs, without what differs between two answers to one request."""
    return json.dumps([pair for pair in pairs if pair[0] not in ("id", "created")])


def _joined(parts: Sequence[tuple[str, Any, str | None]]) -> tuple[str, list[Any], str | None]:
    text = "".join(text for text, _, _ in parts)
    return text, [each for _, some, _ in parts for each in some or ()], parts[-1][2]
