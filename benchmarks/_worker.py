"""A contestant's process: `python -m benchmarks._worker FOLDER PROGRAM PRECISION DEVICE`."""

import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._job import BATCHES_FILE, Job
from benchmarks._measure import Contestant, peak_megabytes, serve
from benchmarks._peers import Idiomatic
from benchmarks._products import Products
from benchmarks._recurlm import EachAlone, ListAtOnce, Recurlm, RecurlmOnPadding, RecurlmWithLogprobs
from recurlm.cli.threads import thread_settings
from recurlm.devices import bf16_is_fast, runs

PROGRAMS: dict[str, Any] = {
    "recurlm": Recurlm,
    "recurlm-on-padding": RecurlmOnPadding,
    "recurlm-with-logprobs": RecurlmWithLogprobs,
    "recurlm-each-alone": EachAlone,
    "recurlm-list-at-once": ListAtOnce,
    "idiomatic": Idiomatic,
    "products": Products,
}


def contestant(name: str, job: Job, program: str, precision: str, device: str) -> Contestant:
    """A contestant that runs one of `PROGRAMS`; recurlm with its command line's settings, others with torch's own."""
    environment = thread_settings() if program.startswith("recurlm") else {}
    command = (sys.executable, "-m", "benchmarks._worker", str(job.folder), program, precision, device)
    return Contestant(name, command, environment, _unable(program, precision, device))


def _unable(program: str, precision: str, device: str) -> str:
    """Why a program other than recurlm, which finds a path everywhere, cannot run here; empty where it can."""
    if device != "cpu" or precision != "bf16":
        return ""
    if program == "idiomatic" and not runs("lstm bf16"):
        return "oneDNN has no LSTM in bfloat16 for this processor"
    if program == "products" and not bf16_is_fast():
        return "this processor does not multiply bfloat16 in hardware"
    return ""


class Worker:
    """Answers requests with what its program does and how long that takes."""

    def __init__(self, folder: Path, program: str, precision: str, device: str) -> None:
        self.job = Job.open(folder)
        self.device = torch.device(device)
        self.batches = self.job.batches() if (folder / BATCHES_FILE).is_file() else []
        self.program = PROGRAMS[program](self.job, precision, self.device)

    def train(self, first: int, steps: int) -> dict[str, Any]:
        """Steps over the batches from number `first` on: seconds, sentences, positions, and each step's loss."""
        batches = self.batches[first : first + steps]
        start = self._now()
        losses = [self.program.train(batch) for batch in batches]
        seconds = self._now() - start
        return {
            "seconds": seconds,
            "sentences": sum(batch.sentences for batch in batches),
            "tokens": sum(int(batch.counted.sum()) for batch in batches),
            "nats": [float(nats) for nats, _ in losses],
            "counted": [int(counted) for _, counted in losses],
        }

    def score(self) -> dict[str, Any]:
        """Score the job's lines: seconds, tokens, and each line's log-probability."""
        lines = self.job.lines()
        start = self._now()
        scores = self.program.score(lines)
        seconds = self._now() - start
        return {"seconds": seconds, "tokens": sum(map(len, scores)), "logprobs": [sum(line) for line in scores]}

    def rescore(self, size: int) -> dict[str, Any]:
        """Rescore the job's lines as lists of `size`: seconds, and each hypothesis's log-probability."""
        lines = self.job.lines()
        lists = [lines[start : start + size] for start in range(0, len(lines), size)]
        start = self._now()
        logprobs = self.program.rescore(lists)
        return {"seconds": self._now() - start, "logprobs": logprobs}

    def generate(self, count: int, tokens: int, seed: int) -> dict[str, Any]:
        """Draw `count` samples: seconds, tokens in all, their ids and log-probabilities."""
        start = self._now()
        ids, logprobs = self.program.generate(count, tokens, seed)
        seconds = self._now() - start
        return {"seconds": seconds, "tokens": count * tokens, "ids": ids, "logprobs": logprobs}

    def logprobs(self, ids: list[list[int]]) -> dict[str, Any]:
        """What the program thinks of given ids."""
        return {"logprobs": self.program.logprobs(ids)}

    def peak(self) -> dict[str, Any]:
        """The largest memory so far: of the process, or of its tensors on the GPU."""
        if self.device.type == "cuda":
            return {"megabytes": torch.cuda.max_memory_allocated() / 1e6}
        return {"megabytes": peak_megabytes()}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    """Serve until standard input ends."""
    folder, program, precision, device = sys.argv[1:]
    worker = Worker(Path(folder), program, precision, device)
    names = ("train", "score", "rescore", "generate", "logprobs", "peak")
    serve({name: getattr(worker, name) for name in names})


if __name__ == "__main__":
    main()
