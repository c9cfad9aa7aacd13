"""Training, a stack of AWD-LSTM's size: 400, 1150, 1150, 400, tied, batch 64, bptt 70; milliseconds an iteration."""

from benchmarks._job import new_job, open_text
from benchmarks._measure import Spread
from benchmarks._report import Options, Result, Row, run
from benchmarks._training import CALM, Target, described, four_contestants, requests, train

JOB = "AWD-sized stack"
CHANGES = [
    "batches.batch_size=64",
    "batches.bptt=70",
    "model.tied=true",
    "model.embedding_size=400",
    "model.hidden_sizes=[1150,1150,400]",
    CALM,
]
TINY = ["model.embedding_size=16", "model.hidden_sizes=[24,24,16]", "batches.batch_size=4"]
TARGETS = {
    "cpu": (Target("recurlm auto", "idiomatic fp32"), Target("recurlm auto", "idiomatic bf16")),
    "cuda": (Target("recurlm auto", "idiomatic fp32", 3, 3), Target("recurlm auto", "idiomatic bf16", 3, 3)),
}


def measure(options: Options) -> Result:
    """Without dropout, so that losses can be compared; the limit in milliseconds is meant for one H200."""
    text = open_text(options)
    rounds, steps = options.pick((5, 20), (2, 1), (2, 2))
    changes = CHANGES + options.pick([], [], TINY)
    with new_job("zaremba-small", changes, len(text.corpus.codec.vocabulary)) as job:
        warm_up = job.save_batches(text.corpus["train"], rounds * steps, options.device)
        trained = train(four_contestants(job, options), requests(warm_up, rounds, steps))
    seconds = trained.seconds("recurlm auto")
    on_gpu = options.device == "cuda"
    time = Row(
        f"{JOB}: an iteration",
        "recurlm auto",
        Spread.of([1000 * value / steps for value in seconds]),
        "ms",
        at_most=3.0 if on_gpu else None,
        aim=1.5 if on_gpu else None,
    )
    rows = [*trained.speed_rows(JOB, TARGETS[options.device], "tokens"), time]
    checks = trained.agreements(list(trained.answers), "idiomatic fp32")
    return Result(JOB, described(options, text.name, rounds, steps), rows, checks, trained.left_out)


def main() -> None:
    """Print and record it."""
    run("train-awd-stack", __doc__, measure)


if __name__ == "__main__":
    main()
