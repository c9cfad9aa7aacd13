"""Scores as a table of pandas, an extra."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from recurlm.errors import UsageError
from recurlm.scoring.formats import LOG_BASES, Table
from recurlm.scoring.scores import LineScore

if TYPE_CHECKING:
    from pandas import DataFrame

BITS = LOG_BASES["2"]
WHOLE_NUMBERS = {"id": "Int64", "rank": "Int64"}
"""Columns of whole numbers, some of which may be missing."""


def data_frame(lines: Iterable[LineScore]) -> "DataFrame":
    """One row a token, with the columns of `score --format tsv`. Raises UsageError where pandas is absent."""
    try:
        import pandas
    except ImportError as error:
        raise UsageError("a table needs the pandas library: pip install 'recurlm[pandas]'") from error
    rows = (row for line in lines for row in _rows(line))
    return pandas.DataFrame(rows, columns=list(Table.COLUMNS)).astype(WHOLE_NUMBERS)


def _rows(line: LineScore) -> Iterator[tuple[Any, ...]]:
    """The cells of each token, in the order of the columns; the first scored token of a line may not be its first."""
    for position, token in enumerate(line.tokens, line.given + 1):
        logprob = math.nan if token.logprob is None else token.logprob
        entropy, rank = (math.nan, None) if token.prediction is None else token.prediction[:2]
        yield line.line, position, token.token, token.id, logprob, -logprob * BITS, entropy * BITS, rank, token.oov
