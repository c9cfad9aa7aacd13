"""Training, one long stream: 2 x 650 tied LSTM, batch 20, bptt 35, against PyTorch."""

from benchmarks._job import new_job, open_text
from benchmarks._report import Options, Result, run
from benchmarks._training import CALM, Target, described, four_contestants, requests, train

JOB = "stream"
CHANGES = [
    "batches.bptt=35",
    "model.tied=true",
    "model.embedding_size=650",
    "model.hidden_sizes=[650,650]",
    "initialisation.scale=0.05",
    CALM,
]
TINY = ["model.embedding_size=16", "model.hidden_sizes=[16,16]"]
TARGETS = (
    Target("recurlm auto", "idiomatic fp32"),
    Target("recurlm auto", "idiomatic bf16"),
    Target("recurlm fp32", "idiomatic fp32"),
)


def measure(options: Options) -> Result:
    """Tokens a second and peak memory; without dropout, so that losses can be compared."""
    text = open_text(options)
    rounds, steps = options.pick((5, 5), (2, 2), (2, 2))
    changes = CHANGES + options.pick([], [], TINY)
    with new_job("zaremba-small", changes, len(text.corpus.codec.vocabulary)) as job:
        warm_up = job.save_batches(text.corpus["train"], rounds * steps, options.device)
        trained = train(four_contestants(job, options), requests(warm_up, rounds, steps))
    rows = trained.speed_rows(JOB, TARGETS, "tokens") + trained.memory_rows(JOB, TARGETS[::2])
    checks = trained.agreements(list(trained.answers), "idiomatic fp32")
    return Result(JOB, described(options, text.name, rounds, steps), rows, checks, trained.left_out)


def main() -> None:
    """Print and record it."""
    run("train-stream", __doc__, measure)


if __name__ == "__main__":
    main()
