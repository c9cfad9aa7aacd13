"""Drawn tokens as text: piece by piece for a stream, or at once."""

from collections.abc import Sequence
from typing import NamedTuple

from recurlm.generation.endings import Ending, GrowingSample, GrowingText
from recurlm.serving.jobs import Draw, Outcome
from recurlm.text.codec import Codec


class Piece(NamedTuple):
    """A drawn token and the text that it completes."""

    draw: Draw
    text: str


class TextWriter:
    """Turns the draws of one job into text; a token that a stop text may yet remove waits."""

    def __init__(self, codec: Codec, before: Sequence[int], ending: Ending) -> None:
        self._text = GrowingText(codec, before)
        self._sample = GrowingSample(codec, ending)
        self._draws: list[Draw] = []
        self._shown = 0

    def add(self, draws: Sequence[Draw]) -> list[Draw]:
        """Takes draws; returns those that are now certain, for `text` or `pieces`."""
        self._draws += draws
        self._sample.extend([draw.id for draw in draws])
        return [] if self._sample.has_ended else self._until(self._sample.settled)

    def end(self, outcome: Outcome) -> list[Draw]:
        """The draws that are still to be shown."""
        return self._until(kept(outcome))

    def text(self, draws: Sequence[Draw]) -> str:
        """The text that draws complete, each draw in its turn."""
        return self._text.extend([draw.id for draw in draws])

    def pieces(self, draws: Sequence[Draw]) -> list[Piece]:
        """The same text, token by token."""
        return [Piece(draw, self._text.add(draw.id)) for draw in draws]

    def rest(self) -> str:
        """The text of an unfinished character at the end."""
        return self._text.rest()

    def _until(self, count: int) -> list[Draw]:
        begin, self._shown = self._shown, max(count, self._shown)
        return self._draws[begin:count]


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
