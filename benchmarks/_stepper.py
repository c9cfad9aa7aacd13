"""The bare stepper in a process of its own: `python -m benchmarks._stepper RUN`."""

import sys
import time

import torch

import recurlm
from benchmarks._measure import serve
from recurlm.models.slots import open_slots


def main() -> None:
    """Answer with the tokens a second that a number of texts, drawn side by side, reach together."""
    model = recurlm.load(sys.argv[1])

    @torch.no_grad()
    def step(streams: int, tokens: int) -> dict[str, float]:
        slots = open_slots(model.network, streams)
        shares = torch.rand(tokens, streams, dtype=torch.float64)
        temperatures = torch.ones(streams, dtype=torch.float64)
        begin = time.perf_counter()
        slots.burst(range(streams), [0] * streams, temperatures, shares, ())
        return {"speed": tokens * streams / (time.perf_counter() - begin)}

    serve({"step": step})


if __name__ == "__main__":
    main()
