"""Drawn tokens as text: piece by piece for a stream, or at once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recurlm.generation.endings import Ending, GrowingSample, GrowingText
from recurlm.serving.jobs import Draw, Outcome
from recurlm.text.codec import Codec


class Piece(NamedTuple):
    """A drawn token and the text that it completes."""

    draw: Draw
    text: str


class TextWriter:
    """Turns the draws of one job into pieces of text; a token that a stop text may yet remove waits."""

    def __init__(self, codec: Codec, before: Sequence[int], ending: Ending) -> None:
        self._text = GrowingText(codec, before)
        self._sample = GrowingSample(codec, ending)
        self._draws: list[Draw] = []
        self._shown = 0

    def add(self, draws: Sequence[Draw]) -> Iterator[Piece]:
        """Takes draws; yields the pieces that are now certain."""
        for draw in draws:
            self._draws.append(draw)
            self._sample.add(draw.id)
        if not self._sample.has_ended:
            yield from self._until(self._sample.settled)

    def end(self, outcome: Outcome) -> tuple[list[Piece], str]:
        """The remaining pieces, and the text of an unfinished character."""
        return list(self._until(kept(outcome))), self._text.rest()

    def _until(self, count: int) -> Iterator[Piece]:
        for draw in self._draws[self._shown : count]:
            self._shown += 1
            yield Piece(draw, self._text.add(draw.id))


def kept(outcome: Outcome) -> int:
    """Number of drawn tokens whose text is shown: all but the `<eos>` that ended them."""
    return len(outcome.ids) - (outcome.end == "eos")


def text_after(codec: Codec, before: Sequence[int], ids: Sequence[int]) -> str:
    """The text of ids that follow other ids."""
    context = codec.context(before)
    return codec.decode([*context, *ids])[len(codec.decode(context)) :]


def finish_reason(outcome: Outcome) -> str:
    """OpenAI's name of what ended a text."""
    return "length" if outcome.end == "tokens" else "stop"
