"""Generation, one stream and 64 streams: recurlm against the usual loop over nn.LSTM."""

from benchmarks._job import new_job, open_text
from benchmarks._measure import Answer, Running, Spread, running, take_turns
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks._worker import contestant
from benchmarks.train_seed_job import MODELS

STREAMS = ((1, 5, 20), (64, 5, 15))
"""How many, and the ratio to reach: at least, aim."""
PEER = "loop over nn.LSTM"
WITH_LOGPROBS = "recurlm, with log-probabilities"
TOLERANCE = 0.01


def measure(options: Options) -> Result:
    """Tokens a second at temperature 1: text alone, as the peer gives it, and with exact log-probabilities."""
    text = open_text(options)
    codec = text.corpus.codec
    rows: list[Row] = []
    checks: list[Check] = []
    with new_job("mxnet-bucketing", MODELS.get(options.size, []), len(codec.vocabulary), wide=True) as job:
        job.save_text(codec, [])
        contestants = [
            contestant("recurlm", job, "recurlm", "auto", options.device),
            contestant(WITH_LOGPROBS, job, "recurlm-with-logprobs", "auto", options.device),
            contestant(PEER, job, "idiomatic", "fp32", options.device),
        ]
        with running(contestants) as processes:
            for count, at_least, aim in STREAMS:
                answers = _rounds(processes, count, options)
                rows += _rows(answers, count, at_least, aim)
                last = answers[WITH_LOGPROBS][-1]
                checks.append(same_thoughts(last, processes[PEER].ask(do="logprobs", ids=last["ids"]), count))
    description = f"the seed's model, {options.device}, {_repeats(options)[0]} rounds in turn"
    return Result("generation", description, rows, checks)


def _repeats(options: Options) -> tuple[int, int]:
    """Rounds, and the tokens of a sample in each."""
    return options.pick((5, 300), (2, 100), (1, 10))


def _rounds(processes: dict[str, Running], count: int, options: Options) -> dict[str, list[Answer]]:
    rounds, tokens = _repeats(options)
    return take_turns(
        processes, [{"do": "generate", "count": count, "tokens": tokens, "seed": seed} for seed in range(1 + rounds)]
    )


def _rows(answers: dict[str, list[Answer]], count: int, at_least: float, aim: float) -> list[Row]:
    job = f"generation, {count} stream" + ("s" if count > 1 else "")
    speeds = {name: [a["tokens"] / a["seconds"] for a in given[1:]] for name, given in answers.items()}
    rows = [Row(job, PEER, Spread.of(speeds[PEER]), "tokens/s")]
    for name, targets in (("recurlm", (at_least, aim)), (WITH_LOGPROBS, (None, None))):
        ratio = Spread.of_ratios(speeds[name], speeds[PEER])
        rows.append(Row(job, name, Spread.of(speeds[name]), "tokens/s", PEER, ratio, *targets))
    return rows


def same_thoughts(ours: Answer, theirs: Answer, count: int) -> Check:
    """Whether the peer gives the samples the log-probabilities that recurlm says they have."""
    pairs = zip(ours["logprobs"], theirs["logprobs"], strict=True)
    worst = max(abs(one - other) / abs(other) for one, other in pairs)
    what = f"log-probability of {count} samples within {TOLERANCE:.0%} under both"
    return Check(what, worst <= TOLERANCE, {"largest difference": worst})


def main() -> None:
    """Print and record it."""
    run("generate-text", __doc__, measure)


if __name__ == "__main__":
    main()
