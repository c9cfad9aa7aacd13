"""Questions about a memory, answered as `recurlm inspect --json` does."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from recurlm.inspection.answers import (
    Choice,
    MemoryAnswer,
    Remembered,
    ReplacementAnswer,
    SpanAnswer,
    remembered,
    remembered_json,
)
from recurlm.inspection.subject import Subject, check_alike, remarks_on
from recurlm.inspection.trace import Trace
from recurlm.serving.bodies.inspection import InspectRequest
from recurlm.serving.errors import RequestError, json_answer
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.serving.scoring import Patience

KEPT_BYTES = 256 << 20
QUESTIONS = ("span", "instead", "remembered")
ONLY_WITH = {
    "part": (None, "span"),
    "layer": (None,),
    "units": (None,),
    "varied": (None,),
    "values": ("span",),
    "with": ("remembered",),
}
"""The questions with which a field goes; None is the memory itself."""


class Traces:
    """The traces asked for last, so that a further question about a text does not read it again."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], Trace] = OrderedDict()

    def get(self, digest: str, ids: tuple[int, ...]) -> Trace | None:
        """The trace of a model over ids, if it is kept."""
        with self._lock:
            if (digest, ids) in self._kept:
                self._kept.move_to_end((digest, ids))
            return self._kept.get((digest, ids))

    def keep(self, digest: str, trace: Trace) -> None:
        """Keeps a trace, and forgets those used longest ago beyond the bytes that there may be."""
        with self._lock:
            self._kept[digest, trace.ids] = trace
            while sum(each.nbytes for each in self._kept.values()) > self._most:
                self._kept.popitem(last=False)


def check_question(body: InspectRequest) -> str | None:
    """Which question is asked; None for the memory itself. Raises RequestError for fields that do not go together."""
    fields = body.model_dump(by_alias=True)
    asked = [name for name in QUESTIONS if fields[name] is not None]
    if len(asked) > 1:
        raise RequestError(400, f"{asked[0]} and {asked[1]} ask different questions; send one of them", param=asked[1])
    question = next(iter(asked), None)
    for name, questions in ONLY_WITH.items():
        if fields[name] and question not in questions:
            reason = f"does not go with {question}" if question else f"goes with {questions[0]}, which is missing"
            raise RequestError(400, f"{name}: {reason}; leave it out", param=name)
    if body.units is not None and body.layer is None:
        raise RequestError(400, "units: belong to one layer; send layer too", param="units")
    if body.units is not None and body.varied is not None:
        raise RequestError(400, "units and varied both choose units; leave out one of the two", param="varied")
    return question


class Inspector:
    """Answers questions with the limits of a server, and keeps the traces asked for last."""

    def __init__(self, options: ServerOptions) -> None:
        self._options, self._traces = options, Traces()

    def answer(self, body: InspectRequest, served: ServedModel, patience: Patience) -> str:
        """The answer to a question about one model, as JSON.

        Raises RequestError, InputError and UsageError, and GivenUpError where nobody waits any longer.
        """
        subject = self._subject(body.text, served, patience)
        if body.instead is not None:
            return _told(served, ReplacementAnswer(subject, body.instead))
        subject = self._traced(subject, served)
        if body.span is not None:
            return _told(served, SpanAnswer(subject, body.span, body.part, body.values))
        units = None if body.units is None else tuple(body.units)
        memory = MemoryAnswer(subject, body.part, Choice(body.layer, units, body.varied))
        told = sum(layer.values.size for layer in memory.layers)
        if told > self._options.told_values:
            message = f"the answer would hold {told:,} values; this server allows at most {self._options.told_values:,}"
            raise RequestError(400, f"{message}: choose a layer, and units or varied", param="text", code="limit")
        return _told(served, memory)

    def remembered(self, body: InspectRequest, served: ServedModel, patience: Patience) -> tuple[Subject, Remembered]:
        """What one model reads, and what it remembers of a word. Raises as `answer` does."""
        subject = self._subject(body.text, served, patience)
        return subject, remembered(subject, body.remembered or 0)

    def _subject(self, text: str, served: ServedModel, patience: Patience) -> Subject:
        subject = served.model.inspect(text, name=served.name, tick=patience.check)
        tokens, most = len(subject.reading), self._options.traced_values
        values = tokens * sum(cell.hidden_size for cell in served.model.network.stack.cells)
        if values > most:
            message = f"the text has {tokens:,} tokens, so each part of this model's memory {values:,} values"
            refusal = f"{message}: this server allows at most {most:,}; send fewer lines"
            raise RequestError(400, refusal, param="text", code="limit")
        return subject

    def _traced(self, subject: Subject, served: ServedModel) -> Subject:
        """The same subject with its trace, read anew where it is not kept."""
        digest = served.engine.digest
        known = self._traces.get(digest, tuple(subject.ids))
        if known is None:
            known = subject.trace
            self._traces.keep(digest, known)
        return replace(subject, known=known)


def remembrance_told(body: InspectRequest, served: ServedModel, found: Sequence[tuple[Subject, Remembered]]) -> str:
    """The curves of several models as JSON. Raises InputError where they cut the text into different tokens."""
    subjects, curves = zip(*found, strict=True)
    check_alike(subjects)
    told = remembered_json(body.remembered or 0, curves)
    return json_answer({"model": served.name, "remarks": remarks_on(subjects), **told})


def _told(served: ServedModel, answer: MemoryAnswer | SpanAnswer | ReplacementAnswer) -> str:
    return json_answer({"model": served.name, "remarks": answer.remarks, **answer.to_json()})
