"""Scoring sentences of mixed length: recurlm against one sentence at a time with PyTorch."""

from benchmarks._job import new_job, open_text
from benchmarks._measure import Answer, Spread, running, take_turns
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks._worker import contestant
from benchmarks.train_seed_job import MODELS

JOB = "scoring"
TOLERANCE = 0.01


def measure(options: Options) -> Result:
    """Tokens a second, `<eos>` counted: lines of text go in, the log-probability of every token comes out."""
    text = open_text(options)
    lines = text.lines[: options.pick(1_500, 300, 30)]
    rounds = options.pick(5, 2, 2)
    codec = text.corpus.codec
    with new_job("mxnet-bucketing", MODELS.get(options.size, []), len(codec.vocabulary), wide=True) as job:
        job.save_text(codec, lines)
        contestants = [
            contestant("recurlm auto", job, "recurlm", "auto", options.device),
            contestant("recurlm fp32", job, "recurlm", "fp32", options.device),
            contestant("one at a time", job, "idiomatic", "fp32", options.device),
        ]
        with running(contestants) as processes:
            answers = take_turns(processes, [{"do": "score"}] * (1 + rounds))
    speeds = {name: [a["tokens"] / a["seconds"] for a in given[1:]] for name, given in answers.items()}
    rows = [Row(JOB, "one at a time", Spread.of(speeds["one at a time"]), "tokens/s")]
    for name, targets in (("recurlm auto", (10, 30)), ("recurlm fp32", (None, None))):
        ratio = Spread.of_ratios(speeds[name], speeds["one at a time"])
        rows.append(Row(JOB, name, Spread.of(speeds[name]), "tokens/s", "one at a time", ratio, *targets))
    checks = [
        same_scores(name, answers[name][-1], answers["one at a time"][-1]) for name in ("recurlm auto", "recurlm fp32")
    ]
    description = f"{len(lines):,} lines of {text.name}, {options.device}, {rounds} rounds in turn"
    return Result(JOB, description, rows, checks)


def same_scores(name: str, ours: Answer, theirs: Answer) -> Check:
    """Whether every line has the same log-probability, and the same number of tokens in all."""
    pairs = zip(ours["logprobs"], theirs["logprobs"], strict=True)
    worst = max(abs(one - other) / abs(other) for one, other in pairs)
    passed = worst <= TOLERANCE and ours["tokens"] == theirs["tokens"]
    return Check(f"{name}: log-probability of every line within {TOLERANCE:.0%}", passed, {"largest difference": worst})


def main() -> None:
    """Print and record it."""
    run("score-sentences", __doc__, measure)


if __name__ == "__main__":
    main()
