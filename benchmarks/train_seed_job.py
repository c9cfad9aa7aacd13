"""Training, the seed document's job: 2 x 256 LSTM, bucketed Penn Treebank, batch 50, against PyTorch and MXNet."""

import numpy as np

from benchmarks._job import Job, new_job, open_text
from benchmarks._measure import Contestant
from benchmarks._report import Options, Result, run
from benchmarks._training import Target, described, four_contestants, requests, train
from benchmarks._worker import contestant

JOB = "seed's job"
MXNET = "MXNet 1.9.1 (trains padding)"
PADDING = "recurlm fp32, padding trained"
MODELS = {"tiny": ["model.embedding_size=16", "model.hidden_sizes=[16,16]"]}
SAME_WORK = ("recurlm auto", "recurlm fp32", "idiomatic fp32", "idiomatic bf16")
SPEED_TARGETS = {
    "cpu": (
        Target("recurlm auto", MXNET, 8, 12),
        Target("recurlm auto", "idiomatic fp32", 4, 6),
        Target("recurlm auto", "idiomatic bf16", 2.5, 4),
        Target("recurlm auto", "products bf16", 0.35, 0.6),
        Target("recurlm fp32", "idiomatic fp32", 1.5, 2),
        Target("recurlm fp32", "products fp32"),
    ),
    "cuda": (
        Target("recurlm auto", "idiomatic fp32", 3, 3),
        Target("recurlm auto", "idiomatic bf16", 3, 3),
        Target("recurlm auto", "products bf16"),
    ),
}
MEMORY_TARGETS = (Target("recurlm auto", "idiomatic fp32", 2, 4), Target("recurlm fp32", "idiomatic fp32"))


def measure(options: Options) -> Result:
    """Sentences a second and peak memory of all contestants, and the limit that matrix products set."""
    text = open_text(options)
    rounds, steps = options.pick((7, 10), (2, 4), (2, 2))
    changes = ["batches.padding=masked", *MODELS.get(options.size, [])]
    with new_job("mxnet-bucketing", changes, len(text.corpus.codec.vocabulary)) as job:
        warm_up = job.save_batches(text.corpus["train"], rounds * steps, options.device)
        trained = train(_contestants(job, options), requests(warm_up, rounds, steps))
    checks = trained.agreements(SAME_WORK, "idiomatic fp32")
    if options.mxnet_python:
        checks += trained.agreements((MXNET, PADDING), MXNET)
    rows = trained.speed_rows(JOB, SPEED_TARGETS[options.device]) + trained.memory_rows(JOB, MEMORY_TARGETS)
    return Result(JOB, described(options, text.name, rounds, steps), rows, checks, trained.left_out)


def _contestants(job: Job, options: Options) -> list[Contestant]:
    contestants = [
        *four_contestants(job, options),
        contestant("products bf16", job, "products", "bf16", options.device),
        contestant("products fp32", job, "products", "fp32", options.device),
    ]
    if options.mxnet_python:
        np.savez(job.folder / "weights.npz", **{k: v.numpy() for k, v in job.new_model().weights().items()})
        program = Contestant(MXNET, (options.mxnet_python, "benchmarks/_mxnet_program.py", str(job.folder)))
        contestants += [program, contestant(PADDING, job, "recurlm-on-padding", "fp32", options.device)]
    return contestants


def main() -> None:
    """Print and record it."""
    run("train-seed-job", __doc__, measure)


if __name__ == "__main__":
    main()
