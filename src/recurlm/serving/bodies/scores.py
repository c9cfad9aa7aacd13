"""Bodies of `/score` and `/rescore`."""

from typing import Literal

from pydantic import Field

from recurlm.serving.bodies.base import AnswerBody, RequestBody

OOV = "How unknown words count: unk, skip, floor:LOGPROB or share:N."


class ScoreRequest(RequestBody):
    """Lines to score, with the options of `recurlm score`."""

    model: str | None = None
    lines: list[str] = Field(min_length=1, description="Each is scored alone, unless `context` is carry.")
    context: Literal["reset", "carry"] = "reset"
    after: str | None = Field(None, description="Score only what follows this text in a line.")
    unit: Literal["token", "word"] = "token"
    oov: str = Field("unk", description=OOV)
    predictions: bool = Field(False, description="Also tell the entropy of each prediction and each token's rank.")
    likeliest: int = Field(0, ge=0, description="Also tell this number of likeliest tokens beside each token.")


class LikelyToken(AnswerBody):
    """A token that the model expected, and its natural log-probability."""

    token: str
    logprob: float


class ScoredTokenBody(AnswerBody):
    """A token as `recurlm score --json` tells it.

    logprob: in nats, null where the token is not counted · pieces: with the unit word · entropy, in nats, rank and
    likeliest: where they are asked for.
    """

    token: str
    id: int | None
    logprob: float | None
    oov: bool
    pieces: int | None = None
    entropy: float | None = None
    rank: int | None = None
    likeliest: list[LikelyToken] | None = None


class ScoredLineBody(AnswerBody):
    """A line as `recurlm score --json` tells it: natural log-probability, mean of the tokens, perplexity."""

    line: int
    text: str
    logprob: float
    mean: float | None
    perplexity: float | None
    tokens: list[ScoredTokenBody]


class ScoreAnswer(AnswerBody):
    """Scores of lines.

    perplexity: of all counted tokens, null where there is none · tokens: number of counted tokens · oov: number of
    unknown tokens · signature: what was scored and how.
    """

    model: str
    lines: list[ScoredLineBody]
    perplexity: float | None
    tokens: int
    oov: int
    signature: str


class HypothesisBody(RequestBody):
    """A hypothesis of a recognizer, with its natural log-probabilities; all hypotheses have the same ones."""

    text: str
    acoustic: float | None = None
    language: float | None = None
    graph: float | None = None


class NBestRequest(RequestBody):
    """One n-best list, with the options of `recurlm rescore`."""

    hypotheses: list[HypothesisBody] = Field(min_length=1)
    weight: float | None = Field(None, ge=0, le=1, description="Of this model against the old one.")
    acoustic_scale: float | None = Field(None, ge=0)
    lm_scale: float | None = Field(None, ge=0)
    length_bonus: float | None = None
    oov: str = Field("unk", description=OOV)


class RescoreRequest(NBestRequest):
    """An n-best list of its own, without a text before it."""

    model: str | None = None


class RescoredHypothesisBody(AnswerBody):
    """A hypothesis with its scores.

    rank: 1 for the best · number: place in the request, from 1 · total: what it is ranked by · logprob: of this model,
    `<eos>` included · oov: number of unknown tokens.
    """

    rank: int
    number: int
    text: str
    total: float
    logprob: float
    acoustic: float | None = None
    language: float | None = None
    graph: float | None = None
    oov: int


class Scales(AnswerBody):
    """The options that the totals were computed with."""

    weight: float
    acoustic_scale: float
    lm_scale: float
    length_bonus: float


class RescoreAnswer(AnswerBody):
    """The hypotheses, best first, and the options used."""

    model: str
    hypotheses: list[RescoredHypothesisBody]
    options: Scales
