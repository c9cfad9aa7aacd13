"""Writes rescored lists as text, line by line."""

import re
from collections.abc import Callable, Iterable, Iterator

from recurlm.documents import json_text
from recurlm.errors import InputError, UsageError
from recurlm.rescoring.nbest import NBestList
from recurlm.rescoring.rescorer import RescoredList
from recurlm.text.lines import quoted

COLUMNS = ("utterance", "rank", "number", "total", "logprob", "acoustic", "language", "graph", "oov", "text")


def best_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """Lines `utt words` with the best hypothesis: Kaldi's text format."""
    for each in rescored:
        text = each.best.hypothesis.text
        yield f"{each.utterance} {text}" if text else each.utterance


def cost_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """Lines `utt-1 cost` with this model's costs alone, in the order of the file, for Kaldi to combine."""
    for each in rescored:
        for scored in each.scored:
            yield f"{scored.hypothesis.key} {-scored.logprob:.6f}"


def table_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """A header and a tab-separated row for each hypothesis in the new order; scores are natural logs."""
    yield "\t".join(COLUMNS)
    for each in rescored:
        for rank, scored in enumerate(each.ranked, 1):
            values = scored.to_json(rank)
            yield "\t".join(_cell(values.get(name)) for name in COLUMNS)


def json_lines(rescored: Iterable[RescoredList]) -> Iterator[str]:
    """A JSON object for each hypothesis in the new order; `read_nbest` can read them again."""
    for each in rescored:
        for rank, scored in enumerate(each.ranked, 1):
            yield json_text(scored.to_json(rank))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else quoted(str(value))


Writer = Callable[[Iterable[RescoredList]], Iterator[str]]
WRITERS: dict[str, Writer] = {
    "best": best_lines,
    "nbest": table_lines,
    "scores": cost_lines,
    "jsonl": json_lines,
}


def check_utterances(lists: Iterable[NBestList], format: str) -> None:
    """Raises InputError for an utterance id that this output format cannot hold."""
    if format == "jsonl":
        return
    for each in lists:
        if not each.utterance or _NOT_IN_AN_ID.search(each.utterance):
            raise InputError(
                f"{each.hypotheses[0].place}: the utterance id {each.utterance!r:.60} is empty or has a space or a "
                f"control character, which the output format {format} cannot hold; "
                "change the id, or add --output-format jsonl"
            )


_NOT_IN_AN_ID = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")


def writer(name: str) -> Writer:
    """The writer of an output format. Raises UsageError for an unknown name."""
    if name not in WRITERS:
        raise UsageError(f"no output format named {name!r}; there are {', '.join(WRITERS)}")
    return WRITERS[name]
