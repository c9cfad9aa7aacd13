"""Rescored lists as text, line by line."""

import json
from collections.abc import Callable, Iterable, Iterator

from recurlm.errors import UsageError
from recurlm.evaluation.rescoring import RescoredList

COLUMNS = ("utterance", "rank", "number", "total", "logprob", "acoustic", "language", "graph", "oov", "text")


def best_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """`utt words` of the best hypothesis: Kaldi's text."""
    for each in rescored:
        yield f"{each.utterance} {each.best.hypothesis.text}".rstrip()


def score_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """`utt-1 cost` of this model alone, negative natural logs, in the order of the file: for Kaldi to combine."""
    for each in rescored:
        for scored in each.scored:
            yield f"{scored.hypothesis.key} {-scored.logprob:.6f}"


def table_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """A row of tabs for each hypothesis in the new order, under a row of names; scores are natural logarithms."""
    yield "\t".join(COLUMNS)
    for each in rescored:
        for rank, scored in enumerate(each.ranked, 1):
            values = scored.to_json(rank)
            yield "\t".join(_cell(values.get(name)) for name in COLUMNS)


def json_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """An object for each hypothesis in the new order; the format jsonl can be read again."""
    for each in rescored:
        for rank, scored in enumerate(each.ranked, 1):
            yield json.dumps(scored.to_json(rank), ensure_ascii=False, allow_nan=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


Writer = Callable[[Iterable[RescoredList]], Iterator[str]]
WRITERS: dict[str, Writer] = {
    "best": best_lines,
    "nbest": table_lines,
    "scores": score_lines,
    "jsonl": json_lines,
}


def writer(name: str) -> Writer:
    """By its name. Raises UsageError for another."""
    if name not in WRITERS:
        raise UsageError(f"no output format named {name!r}; there are {', '.join(WRITERS)}")
    return WRITERS[name]
