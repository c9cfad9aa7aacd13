"""Bodies of the routes of sessions, and of those where the client holds the state."""

from typing import Literal, Self

from pydantic import Field, model_validator

from recurlm.serving.bodies.base import AnswerBody, RequestBody
from recurlm.serving.bodies.completions import DrawingRequest
from recurlm.serving.bodies.scores import OOV, NBestRequest, RescoredHypothesisBody, Scales

STATE = "Of a session: the id of the state it must be in. Of /stateless: the field `state` of the answer before."
MODEL = "Name of a served model; may be left out where there is one, or where a state says it."
Text = Field(None, description="Line feeds and written <eos> are <eos>; the end of the text is none.")


class FromState(RequestBody):
    """A request that goes on from a state."""

    state: str | None = Field(None, description=STATE)


class TextOrIds(RequestBody):
    """A text, or the ids of its tokens."""

    text: str | None = Text
    ids: list[int] | None = None

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if self.text is not None and self.ids is not None:
            raise ValueError("text and ids are two forms of the same; give one of them")
        return self


class CreateRequest(TextOrIds):
    """What a new session has read: nothing, a text, a state and then a text, or what another session has."""

    model: str | None = Field(None, description=MODEL)
    state_file: str | None = Field(None, description="A file of --state-out or of GET /sessions/{id}/state, in base64.")
    parent: str | None = Field(None, description="Id of a session to fork; excludes the other fields.")


class ReadRequest(FromState, TextOrIds):
    """What a model reads."""


class GenerateRequest(FromState, DrawingRequest):
    """How the text goes on; what is drawn belongs to it then."""


class ScoreAfterRequest(FromState, TextOrIds):
    """A text to score after a state. With `commit` the model has also read it then."""

    likeliest: int = Field(0, ge=0, description="Also tell this number of likeliest tokens beside each token.")
    commit: bool = False


class RescoreAfterRequest(FromState, NBestRequest):
    """An n-best list after a state. With `choose_best` the model has also read the best hypothesis then."""

    choose_best: bool = False


class ChooseRequest(FromState):
    """The hypothesis that won, which the model reads with an `<eos>`."""

    text: str
    oov: str = Field("unk", description=OOV)


class ForkRequest(FromState):
    """Which state to fork."""


class RollbackRequest(FromState):
    """How many tokens remain."""

    tokens: int


class OfModel(RequestBody):
    """The model of a text that has no state yet."""

    model: str | None = Field(None, description=MODEL)


class StatelessReadRequest(ReadRequest, OfModel):
    """What a model reads after a state that the client holds."""


class StatelessGenerateRequest(GenerateRequest, OfModel):
    """How a text whose state the client holds goes on."""


class StatelessScoreRequest(ScoreAfterRequest, OfModel):
    """A text to score after a state that the client holds."""


class StatelessRescoreRequest(RescoreAfterRequest, OfModel):
    """An n-best list after a state that the client holds."""


class StatelessChooseRequest(ChooseRequest, OfModel):
    """The hypothesis that won, after a state that the client holds."""


class SessionBody(AnswerBody):
    """A session.

    state: id of its state, a new one after every change · tokens: number of tokens read and drawn since its start ·
    created, used: seconds since 1970.
    """

    session: str
    model: str
    state: str
    tokens: int
    created: int
    used: int


class NewSession(SessionBody):
    """A session, and the words of its text that count as `<unk>`."""

    unknown: list[str]


class Standing(AnswerBody):
    """Where a text stands after a request.

    session, tokens: null where the client holds the state · state: id of the session's state, or the state itself, to
    be sent with the next request.
    """

    session: str | None
    model: str
    state: str
    tokens: int | None


class ReadAnswer(Standing):
    """read: number of tokens · unknown: the words that count as `<unk>`."""

    read: int
    unknown: list[str]


class LikelyIdBody(AnswerBody):
    """A token that the model expected, and its natural log-probability."""

    token: str
    id: int
    logprob: float


class TokenBody(LikelyIdBody):
    """A token with the likeliest ones in its place, where they are asked for."""

    likeliest: list[LikelyIdBody] | None = None


class GenerateAnswer(Standing):
    """What was drawn.

    ids: all that the model has now read of it, with the `<eos>` that ended it · text: without that `<eos>` · tokens of
    `logprobs`: as the ids, where asked for · finish_reason: `length`, or `stop` for a stop text or the end of a
    sentence.
    """

    text: str
    ids: list[int]
    logprobs: list[TokenBody] | None
    finish_reason: Literal["stop", "length"]


class ScoreAfterAnswer(Standing):
    """Natural log-probabilities of a text after a state, and their sum; unknown words are scored as `<unk>`."""

    logprob: float
    scores: list[TokenBody]
    unknown: list[str]


class RescoreAfterAnswer(Standing):
    """The hypotheses, best first, the options used, and the text that was read, if one was."""

    hypotheses: list[RescoredHypothesisBody]
    options: Scales
    chosen: str | None
