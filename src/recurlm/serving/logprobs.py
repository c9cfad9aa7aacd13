"""Log-probabilities in OpenAI's form."""

from collections.abc import Iterable, Sequence
from typing import Any

from recurlm.generation.endings import GrowingText
from recurlm.serving.prompts import Prompt
from recurlm.serving.scoring import ScoredToken
from recurlm.serving.texts import Piece
from recurlm.text.codec import Codec


class LogprobsWriter:
    """Collects the log-probabilities of one choice, token by token."""

    def __init__(self, codec: Codec, prompt: Prompt) -> None:
        self._codec = codec
        self._tokens = codec.vocabulary.tokens
        self._offset = len(codec.decode(prompt.whole))
        self._collected = _nothing()

    def echo(self, scores: Sequence[ScoredToken]) -> None:
        """Takes the tokens of the prompt."""
        text, offset = GrowingText(self._codec), 0
        for score in scores:
            self._append(score.id, score.logprob, score.likeliest, offset)
            offset += len(text.add(score.id))

    def add(self, pieces: Iterable[Piece]) -> None:
        """Takes drawn tokens."""
        for draw, text in pieces:
            self._append(draw.id, draw.logprob, draw.alternatives, self._offset)
            self._offset += len(text)

    def take(self) -> dict[str, list[Any]]:
        """What was collected since the last `take`."""
        collected, self._collected = self._collected, _nothing()
        return collected

    def _append(self, index: int, logprob: float | None, likeliest: Iterable[tuple[int, float]], offset: int) -> None:
        collected = self._collected
        collected["tokens"].append(self._tokens[index])
        collected["token_logprobs"].append(logprob)
        top = {self._tokens[each]: value for each, value in likeliest}
        if logprob is not None:
            top[self._tokens[index]] = logprob
        collected["top_logprobs"].append(top or None)
        collected["text_offset"].append(offset)


def _nothing() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
