"""Training, a whole epoch of the seed document's job: seconds for its 42,000 sentences."""

from benchmarks._job import new_job, open_text
from benchmarks._measure import Spread
from benchmarks._report import Options, Result, Row, run
from benchmarks._training import Target, four_contestants, train
from benchmarks.train_seed_job import MODELS

JOB = "seed's epoch"
TARGETS = (Target("recurlm auto", "idiomatic fp32", 3, 3), Target("recurlm auto", "idiomatic bf16", 3, 3))


def measure(options: Options) -> Result:
    """The second epoch and those after it are timed; the limit in seconds is meant for one H200."""
    text = open_text(options)
    rounds = options.pick(3, 1, 1)
    changes = ["batches.padding=masked", *MODELS.get(options.size, [])]
    with new_job("mxnet-bucketing", changes, len(text.corpus.codec.vocabulary)) as job:
        job.save_batches(text.corpus["train"], None)
        batches = len(job.batches())
        epochs = [{"do": "train", "first": 0, "steps": batches}] * (1 + rounds)
        trained = train(four_contestants(job, options), epochs)
    on_gpu = options.device == "cuda"
    time = Row(
        f"{JOB}: seconds",
        "recurlm auto",
        Spread.of(trained.seconds("recurlm auto")),
        "s",
        at_most=1.0 if on_gpu else None,
        aim=0.5 if on_gpu else None,
    )
    rows = [*trained.speed_rows(JOB, TARGETS if on_gpu else ()), time]
    checks = trained.agreements(list(trained.answers), "idiomatic fp32")
    description = f"{text.name}, {options.device}, {rounds} epochs of {batches} batches in turn"
    return Result(JOB, description, rows, checks, trained.left_out)


def main() -> None:
    """Print and record it."""
    run("train-seed-epoch", __doc__, measure)


if __name__ == "__main__":
    main()
