"""Ends samples early: at the end of a sentence, or before a stop text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.errors import UsageError
from recurlm.text.codec import Codec
from recurlm.text.vocabulary import EOS_ID

LONGEST_STOP = 1000
TOKENS_PER_CHARACTER = 4
"""Most tokens in a character: a byte-level token has at least one byte, and UTF-8 has up to four per character."""
UNFINISHED_CHARACTER = "\ufffd"
"""The decoding of a byte-level token before the rest of its character is drawn."""
MOST_PENDING = 4 * TOKENS_PER_CHARACTER


@dataclass(frozen=True)
class Ending:
    """What ends a sample before it has all its tokens.

    stops: texts; a sample ends before the first token that is part of one · at_eos: a sample ends with the ``<eos>`` of
    its sentence, which belongs to the sample. Raises UsageError for an empty stop text.
    """

    stops: tuple[str, ...] = ()
    at_eos: bool = False

    def __post_init__(self) -> None:
        if not all(self.stops):
            raise UsageError("a stop text is empty and would end every sample at once; leave it out")
        if (longest := max(map(len, self.stops), default=0)) > LONGEST_STOP:
            raise UsageError(f"a stop text has {longest:,} characters, more than the limit of {LONGEST_STOP:,}")

    @property
    def at_last_token_only(self) -> bool:
        """Whether only its last token ends a sample."""
        return not self.stops and not self.at_eos


class GrowingText:
    """Decodes ids that arrive one by one, into pieces of text that join to the text of all ids.

    A piece ends where a character ends, so an id that is part of a character waits for the rest of it. Each id is
    decoded only a few times.
    """

    def __init__(self, codec: Codec, before: Sequence[int] = ()) -> None:
        """`before`: ids whose text is complete and was already shown."""
        self.codec = codec
        self._pending = list[int]()
        self._follow(before)

    def extend(self, ids: Sequence[int]) -> str:
        """Takes the next ids; returns the text that is now complete and was not returned before."""
        text = self._complete(ids)
        return "".join(map(self.add, ids)) if text is None else text

    def add(self, index: int) -> str:
        """Takes the next id; returns the text that is now complete and was not returned before."""
        if (complete := self._complete([index])) is not None:
            return complete
        self._pending.append(index)
        if len(self._pending) < MOST_PENDING:
            return ""
        # these bytes are not text: release those that cannot belong to the last character
        text = self._text(self._pending)
        latest = len(self._pending) - TOKENS_PER_CHARACTER
        splits = (count for count in range(latest, 0, -1) if self._text_if_split(count) == text)
        return self._taken(next(splits, len(self._pending)))

    def rest(self) -> str:
        """The text of the ids that are still waiting."""
        return self._taken(len(self._pending))

    def _complete(self, ids: Sequence[int]) -> str | None:
        """The text of the waiting ids and these, which then wait no longer; None where its last character lacks ids."""
        waiting = [*self._pending, *ids]
        text = self._text(waiting)
        if text.endswith(UNFINISHED_CHARACTER):
            return None
        self._follow([*self._context, *waiting])
        self._pending.clear()
        return text

    def _follow(self, before: Sequence[int]) -> None:
        """From now on ids follow these, on whose end a space may depend."""
        self._context = self.codec.context(before)
        self._shown = len(self.codec.decode(self._context))

    def _text(self, ids: list[int]) -> str:
        """The text of these ids after the ids before them."""
        return self.codec.decode(self._context + ids)[self._shown :]

    def _text_if_split(self, count: int) -> str:
        first, second = self._pending[:count], self._pending[count:]
        return self._text(first) + self.codec.decode(first[-1:] + second)[len(self.codec.decode(first[-1:])) :]

    def _taken(self, count: int) -> str:
        taken, self._pending = self._pending[:count], self._pending[count:]
        text = self._text(taken)
        self._follow([*self._context, *taken])
        return text


class GrowingSample:
    """The ids of one sample, and what ended it: ``eos``, ``stop``, or else ``tokens``."""

    def __init__(self, codec: Codec, ending: Ending) -> None:
        self.codec, self.ending = codec, ending
        self.ids: list[int] = []
        self.end = "tokens"
        self._window = TOKENS_PER_CHARACTER * (1 + max(map(len, ending.stops), default=0))

    @property
    def has_ended(self) -> bool:
        """Whether the sample takes no more tokens."""
        return self.end != "tokens"

    @property
    def sentence_ids(self) -> list[int]:
        """The ids without the ``<eos>`` that ended the sample."""
        return self.ids[:-1] if self.end == "eos" else self.ids

    def extend(self, ids: Sequence[int]) -> int:
        """Takes ids up to the one that ends the sample; returns how many it took."""
        if not self.ending.stops and not self.ending.at_eos and not self.has_ended:
            self.ids += ids
            return len(ids)
        for count, index in enumerate(ids):
            if self.has_ended:
                return count
            self.add(index)
        return len(ids)

    def add(self, index: int) -> None:
        """Takes the next id, unless the sample has ended."""
        if self.has_ended:
            return
        self.ids.append(index)
        text = self._last_text()
        starts = [start for stop in self.ending.stops if (start := text.find(stop)) >= 0]
        if starts:
            del self.ids[self._count_before(min(starts)) :]
            self.end = "stop"
        elif self.ending.at_eos and index == EOS_ID:
            self.end = "eos"

    @property
    def settled(self) -> int:
        """Number of ids from the start that no stop text can remove anymore."""
        if self.has_ended:
            return len(self.ids)
        text = self._last_text()
        begun = max((_overlap(text, stop) for stop in self.ending.stops), default=0)
        return self._count_before(len(text) - begun) if begun else len(self.ids)

    def _last_text(self) -> str:
        """The text of the last tokens, enough of them to hold the longest stop text."""
        return self.codec.decode(self.ids[-self._window :]) if self.ending.stops else ""

    def _count_before(self, position: int) -> int:
        """Number of ids before a position in the text of the last tokens."""
        window = self.ids[-self._window :]
        fitting = (count for count in range(len(window), 0, -1) if len(self.codec.decode(window[:count])) <= position)
        return len(self.ids) - len(window) + next(fitting, 0)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of a text that is a proper beginning of a stop text."""
    return next((length for length in range(len(stop) - 1, 0, -1) if text.endswith(stop[:length])), 0)


def collect(draws: Iterator[Tensor], count: int, codec: Codec, ending: Ending) -> list[GrowingSample]:
    """Collects `count` samples from draws (count,) until each has ended; nothing is drawn after that."""
    samples = [GrowingSample(codec, ending) for _ in range(count)]
    if ending.at_last_token_only:
        rows = torch.stack(steps).t().tolist() if (steps := list(draws)) else []
        for sample, row in zip(samples, rows, strict=bool(rows)):
            sample.ids = row
        return samples
    for ids in draws:
        for sample, index in zip(samples, ids.tolist(), strict=True):
            sample.add(index)
        if all(sample.has_ended for sample in samples):
            break
    return samples
