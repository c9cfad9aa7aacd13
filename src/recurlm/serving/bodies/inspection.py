"""Bodies of `/inspect`."""

from typing import Annotated

from pydantic import ConfigDict, Field

from recurlm.serving.bodies.base import AnswerBody, RequestBody

Number = Annotated[int, Field(ge=1)]


class InspectRequest(RequestBody):
    """A question about a memory over a text, with the options of `recurlm inspect`.

    Without `span`, `instead` and `remembered`, the answer is the memory itself.
    """

    model: str | None = None
    text: str = Field(min_length=1, description="Its lines are read as one document.")
    part: str | None = Field(None, description="cell, hidden, or a gate such as forget; without it cell or hidden.")
    layer: Number | None = Field(None, description="Tell only this layer of the memory, counted from 1.")
    units: list[Number] | None = Field(None, min_length=1, description="Tell only these units of `layer`, from 1.")
    varied: Number | None = Field(
        None, description="Tell only this number of units of a layer: those that vary most, similar ones side by side."
    )
    span: str | None = Field(None, description="A:B asks which units hold something over exactly the tokens A to B.")
    values: bool = Field(False, description="With `span`, also tell the values of these units after each token.")
    instead: str | None = Field(None, description="WORD@N asks how far WORD in place of token N moves the memory.")
    remembered: Number | None = Field(
        None, description="Asks what is left of a word, on average, after 0 to this number of further tokens."
    )
    others: list[str] = Field(default_factory=list, alias="with", description="Further models for `remembered`.")


class InspectAnswer(AnswerBody):
    """What every answer tells. remarks: what a reader should know, such as unknown tokens."""

    model: str
    remarks: list[str]


class InspectedToken(AnswerBody):
    """A token as it was read: surprisal and entropy in bits, rank, and the likeliest tokens with probabilities.

    name: the token as pictures show it, with spaces and line ends visible.
    """

    token: str
    name: str
    id: int
    oov: bool
    surprisal: float
    entropy: float
    rank: int
    guesses: list[tuple[str, float]]


class LayerBody(AnswerBody):
    """The values (T, units) of one layer after each token. units: their numbers, where some were chosen."""

    layer: int
    cell: str
    units: list[int] | None = None
    values: list[list[float]]


class MemoryBody(InspectAnswer):
    """The memory. parts: what `part` may name for this model."""

    tokens: list[InspectedToken]
    part: str
    parts: list[str]
    layers: list[LayerBody]


class SpanBody(AnswerBody):
    """The tokens `from` to `to`, counted from 1."""

    model_config = ConfigDict(serialize_by_alias=True)
    first: int = Field(alias="from")
    to: int
    tokens: list[str]


class PlaceBody(SpanBody):
    """Another span, and how many of the units hold it."""

    units: int


class HoldingBody(AnswerBody):
    """A unit that is above or below a threshold at every token of the span and at neither neighbor.

    margin: how far the span's weakest value lies from the strongest neighbor · values: where asked for.
    """

    layer: int
    unit: int
    side: str
    threshold: float
    margin: float
    values: list[float] | None = None


class HeldBody(InspectAnswer):
    """The units that hold a span, and the other places where most of them do."""

    part: str
    span: SpanBody
    units: list[HoldingBody]
    places: list[PlaceBody]


class ReplacementBody(InspectAnswer):
    """Two memories that differ in one token.

    first: number of the token after which the first distances are taken · tokens: from there on · layers: the distance
    of each layer's states after each token, as a share of their mean length · prediction: total variation.
    """

    instead: str
    first: int
    tokens: list[str]
    layers: list[list[float]]
    prediction: list[float]


class RememberedModelBody(AnswerBody):
    """What one model remembers of a word after 0, 1, 2 … further tokens, on average: distances as in a replacement."""

    name: str
    layers: list[list[float]]
    prediction: list[float]


class RemembranceBody(InspectAnswer):
    """How long words are remembered, by each model."""

    steps: int
    models: list[RememberedModelBody]
