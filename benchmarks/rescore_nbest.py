"""Rescoring n-best lists of 100: the trie of shared prefixes against scoring each hypothesis alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._job import SEED, new_job, open_text
from benchmarks._measure import Answer, Spread, running, take_turns
from benchmarks._report import Check, Options, Result, Row, run
from benchmarks._worker import contestant
from benchmarks.train_seed_job import MODELS

JOB = "rescoring"
TRIE, ALONE, BATCHED = "trie", "each alone", "a list at once"
PROGRAMS = {TRIE: "recurlm", ALONE: "recurlm-each-alone", BATCHED: "recurlm-list-at-once"}
DOUBTS, ALTERNATIVES, SHARE = 8, 2, 0.4
TOLERANCE = 1e-5


def measure(options: Options) -> Result:
    """Hypotheses a second, in float32: whole lists go in, the log-probability of each hypothesis comes out.

    All contestants are recurlm: the trie against `score_lines` with one hypothesis, and with one list, at a time.
    """
    text = open_text(options)
    rounds, count, size = options.pick((5, 20, 100), (3, 5, 100), (1, 2, 20))
    codec = text.corpus.codec
    sentences = [line.split() for line in text.lines if len(line.split()) >= 5][:count]
    words = [token for token in codec.vocabulary.tokens if not token.startswith("<")]
    lists = made_lists(sentences, words, size)
    with new_job("mxnet-bucketing", MODELS.get(options.size, []), len(codec.vocabulary), wide=True) as job:
        job.save_text(codec, [" ".join(hypothesis) for each in lists for hypothesis in each])
        contestants = [contestant(name, job, program, "fp32", options.device) for name, program in PROGRAMS.items()]
        with running(contestants) as processes:
            answers = take_turns(processes, [{"do": "rescore", "size": size}] * (1 + rounds))
    hypotheses = sum(map(len, lists))
    speeds = {name: [hypotheses / answer["seconds"] for answer in given[1:]] for name, given in answers.items()}
    rows = [Row(JOB, name, Spread.of(speeds[name]), "hypotheses/s") for name in (ALONE, BATCHED)]
    for other, targets in ((ALONE, (3, 3)), (BATCHED, (None, None))):
        ratio = Spread.of_ratios(speeds[TRIE], speeds[other])
        rows.append(Row(JOB, TRIE, Spread.of(speeds[TRIE]), "hypotheses/s", other, ratio, *targets))
    checks = [same_scores(name, answers[TRIE][-1], answers[name][-1]) for name in (ALONE, BATCHED)]
    shared = distinct_prefixes(lists) / sum(len(hypothesis) + 1 for each in lists for hypothesis in each)
    description = (
        f"{count} lists of {size}, readings of sentences of {text.name}, {options.device}, {rounds} rounds in turn; "
        f"distinct prefixes: {shared:.0%} of all"
    )
    return Result(JOB, description, rows, checks)


def made_lists(sentences: Sequence[Sequence[str]], words: Sequence[str], size: int) -> list[list[tuple[str, ...]]]:
    """For each sentence `size` different readings: a recogniser doubts a few places, and its list combines the doubts.

    A doubt lies at a random place and has up to `ALTERNATIVES` words in place of one, or none; a reading settles some
    of the doubts otherwise than the sentence does.
    """
    generator = np.random.default_rng(SEED)
    lists = []
    for sentence in sentences:
        places = generator.choice(len(sentence), min(DOUBTS, len(sentence)), replace=False)
        doubts = {at: ["", *generator.choice(words, ALTERNATIVES)] for at in places}
        readings = {tuple(sentence): None}
        while len(readings) < size:
            reading = [
                str(generator.choice(doubts[at])) if at in doubts and generator.random() < SHARE else word
                for at, word in enumerate(sentence)
            ]
            readings[tuple(word for word in reading if word)] = None
        lists.append(list(readings))
    return lists


def distinct_prefixes(lists: Sequence[Sequence[tuple[str, ...]]]) -> int:
    """How many nodes the tries of the lists have, one trie for each list."""
    return sum(len({reading[:length] for reading in each for length in range(len(reading) + 1)}) for each in lists)


def same_scores(name: str, ours: Answer, theirs: Answer) -> Check:
    """Whether each hypothesis has the same log-probability."""
    pairs = zip(ours["logprobs"], theirs["logprobs"], strict=True)
    values: dict[str, Any] = {"largest difference": max(abs(one - other) / abs(other) for one, other in pairs)}
    return Check(f"log-probability of every hypothesis as {name}", values["largest difference"] <= TOLERANCE, values)


def main() -> None:
    """Print and record it."""
    run("rescore-nbest", __doc__, measure)


if __name__ == "__main__":
    main()
