"""Scores of words as a reader sees them: what stands between spaces, with its punctuation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recurlm.errors import RecurlmError
from recurlm.scoring.formats import LOG_BASES
from recurlm.scoring.scores import LineScore, TokenScore
from recurlm.text.tokenization import Tokenization

_WORD = re.compile(" *[^ ]+")
_BITS = LOG_BASES["2"]


@dataclass(frozen=True)
class ReaderWord:
    """The score of one word.

    surprisal: in bits, summed over the tokens of the word; None where one of them is not counted · entropy: in bits, of
    the prediction of the word's first token · rank: of that token, 1 for the likeliest · oov: whether the vocabulary
    lacks one of the tokens · pieces: number of tokens. Entropy and rank are None where the model did not read the token
    or where predictions were not requested.
    """

    word: str
    surprisal: float | None
    entropy: float | None
    rank: int | None
    oov: bool
    pieces: int


def reader_words(line: LineScore, tokenization: Tokenization) -> tuple[list[ReaderWord], float | None]:
    """The words of a line scored by tokens, and the surprisal in bits of what follows them: spaces and ``<eos>``.

    Spaces before a word count with the word. Raises RecurlmError where a token reaches across a space.
    """
    tokens, start, words = line.tokens, 0, []
    for span in _WORD.findall(line.text):
        pieces = list(tokenization.split(span))
        stop = start + len(pieces)
        if list(line.words[start:stop]) != pieces:
            raise RecurlmError(
                f"line {line.line}: a token of the model reaches across the space around {span.strip(' ')!r}, "
                "so words have no scores of their own"
            )
        words.append(_word(span.strip(" "), tokens[start:stop]))
        start = stop
    return words, _surprisal(tokens[start:])


def _word(written: str, tokens: Sequence[TokenScore]) -> ReaderWord:
    prediction = tokens[0].prediction if tokens else None
    return ReaderWord(
        written,
        _surprisal(tokens),
        None if prediction is None else prediction.entropy * _BITS,
        None if prediction is None else prediction.rank,
        any(token.oov for token in tokens),
        len(tokens),
    )


def _surprisal(tokens: Sequence[TokenScore]) -> float | None:
    """Bits of all tokens; None where one is not counted, or where there is none."""
    counted = [token.logprob for token in tokens if token.logprob is not None]
    return -sum(counted) * _BITS if counted and len(counted) == len(tokens) else None
