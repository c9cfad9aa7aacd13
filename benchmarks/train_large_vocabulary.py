"""Training with 200,000 words, H 512, tied: tokens a second and peak memory against PyTorch."""

import numpy as np

from benchmarks._job import MORE_WARM_UP_STEPS, SEED, new_job, zipf_ids
from benchmarks._report import Options, Result, run
from benchmarks._training import CALM, Target, described, four_contestants, requests, train
from recurlm.text.codec import EncodedText

JOB = "large vocabulary"
BPTT = 35
SPEED_TARGETS = (
    Target("recurlm auto", "idiomatic fp32", 3, 5),
    Target("recurlm auto", "idiomatic bf16", 3, 5),
    Target("recurlm fp32", "idiomatic fp32"),
)
MEMORY_TARGETS = (
    Target("recurlm auto", "idiomatic fp32", 5, 10),
    Target("recurlm auto", "idiomatic bf16", 5, 10),
    Target("recurlm fp32", "idiomatic fp32"),
)


def measure(options: Options) -> Result:
    """One layer, words drawn with Zipf's frequencies."""
    words = options.pick(200_000, 200_000, 2_000)
    size = options.pick(512, 512, 16)
    columns = options.pick(50, 10, 5)
    rounds, steps = options.pick((3, 2), (1, 1), (2, 2))
    changes = [
        f"batches.batch_size={columns}",
        f"batches.bptt={BPTT}",
        "model.tied=true",
        f"model.embedding_size={size}",
        f"model.hidden_sizes=[{size}]",
        CALM,
    ]
    ids = zipf_ids(
        words, columns * BPTT * (rounds * steps + 3 + MORE_WARM_UP_STEPS[options.device]), np.random.default_rng(SEED)
    )
    text = EncodedText(ids.astype(np.uint32), "made", "", 0)
    with new_job("zaremba-small", changes, words) as job:
        warm_up = job.save_batches(text, rounds * steps, options.device)
        trained = train(four_contestants(job, options), requests(warm_up, rounds, steps))
    rows = trained.speed_rows(JOB, SPEED_TARGETS, "tokens") + trained.memory_rows(JOB, MEMORY_TARGETS)
    checks = trained.agreements(list(trained.answers), "idiomatic fp32")
    sizes = f"V {words:,}, H {size}, batch {columns}, bptt {BPTT}, a made text (Zipf's word frequencies)"
    return Result(JOB, described(options, sizes, rounds, steps), rows, checks, trained.left_out)


def main() -> None:
    """Print and record it."""
    run("train-large-vocabulary", __doc__, measure)


if __name__ == "__main__":
    main()
