"""A request among many others gets, byte for byte, the answer that it gets alone."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks._schedules import settled, some_request

from serving.http_server import Server

WORDS = ["the", "red", "fruit", "is", "a", "it"]


def test_fifty_requests_at_once_get_the_answers_that_each_gets_alone(server: Server) -> None:
    draw = random.Random(11)
    requests = [some_request(draw, WORDS) for _ in range(50)]

    def send(request: tuple[str, dict[str, Any]]) -> Any:
        path, fields = request
        answer = server.post(path, **fields)
        return settled(answer.status, answer.headers, answer.body)

    alone = [send(each) for each in requests]
    with ThreadPoolExecutor(50) as pool:
        together = list(pool.map(send, requests))
    for request, first, second in zip(requests, alone, together, strict=True):
        assert second == first, request
