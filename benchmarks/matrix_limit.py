"""The limit: what this machine's matrix products alone would take for the seed's job, in sentences a second."""

from benchmarks._job import new_job, open_text
from benchmarks._measure import Spread
from benchmarks._products import operations
from benchmarks._report import Options, Result, Row, run
from benchmarks._training import described, requests, train
from benchmarks._worker import contestant
from benchmarks.train_seed_job import MODELS

JOB = "matrix limit"


def measure(options: Options) -> Result:
    """Float32 and bfloat16, sentences and operations a second; `train_seed_job` measures the same beside the rest."""
    text = open_text(options)
    rounds, steps = options.pick((7, 20), (3, 5), (2, 2))
    changes = ["batches.padding=masked", *MODELS.get(options.size, [])]
    with new_job("mxnet-bucketing", changes, len(text.corpus.codec.vocabulary)) as job:
        warm_up = job.save_batches(text.corpus["train"], rounds * steps, options.device)
        names = [f"products {precision}" for precision in ("fp32", "bf16")]
        contestants = [contestant(name, job, "products", name[-4:], options.device) for name in names]
        asked = requests(warm_up, rounds, steps)
        trained = train(contestants, asked)
        batches = job.batches()
        counts = [
            sum(operations(job, batch) for batch in batches[round["first"] :][: round["steps"]]) for round in asked[1:]
        ]
    rows = trained.speed_rows(JOB, ())
    for name in trained.answers:
        rates = [count / seconds / 1e12 for count, seconds in zip(counts, trained.seconds(name), strict=True)]
        rows.append(Row(f"{JOB}: arithmetic", name, Spread.of(rates), "TFLOP/s"))
    return Result(JOB, described(options, text.name, rounds, steps), rows, (), trained.left_out)


def main() -> None:
    """Print and record it."""
    run("matrix-limit", __doc__, measure)


if __name__ == "__main__":
    main()
