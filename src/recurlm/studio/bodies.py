"""Bodies of the page's requests."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from recurlm.errors import UsageError
from recurlm.serving.bodies.base import AnswerBody, RequestBody
from recurlm.serving.bodies.completions import SamplingRequest
from recurlm.training.request import parse_duration

TIME_LIMIT = "Such as 90s, 10m or 1h30m."


def _checked_time(text: str) -> str:
    try:
        parse_duration(text)
    except UsageError:
        raise ValueError("write it as 90s, 10m, 1.5h or 1h30m") from None
    return text


TimeLimit = Annotated[str, AfterValidator(_checked_time)]


class TrainRequest(RequestBody):
    """A run to train, on a text or a named corpus; on the embedded corpus without either."""

    name: str = Field(description="Name of the run's folder.")
    text: str | None = Field(None, min_length=1, description="The text itself; it is kept beside the runs.")
    corpus: str | None = Field(None, description="Name of a corpus.")
    recipe: str | None = Field(None, description="Name of a shipped recipe.")
    unit: Literal["word", "character", "bpe"] | None = None
    time_limit: TimeLimit | None = Field(None, max_length=100, description=TIME_LIMIT)


class ResumeRequest(RequestBody):
    """A stopped run to go on with."""

    name: str
    time_limit: TimeLimit | None = Field(None, max_length=100, description=TIME_LIMIT)


class TrainingAnswer(AnswerBody):
    """The training that the page started last; all but `lines` are null before the first.

    command: as one would type it · exit_code: null while it runs · stop_asked: whether the page asked it to stop ·
    lines: what it has written.
    """

    run: str | None = None
    command: str | None = None
    running: bool = False
    exit_code: int | None = None
    stop_asked: bool = False
    lines: tuple[str, ...] = ()


class RunsAnswer(AnswerBody):
    """The runs of the folder as `recurlm runs --json` tells them, and a line about each other folder there."""

    folder: str
    runs: list[dict[str, Any]]
    problems: list[str]


class ChoicesAnswer(AnswerBody):
    """What the page offers: shipped recipes, and named corpora with whether they are on this machine.

    is_run: whether the folder is itself a run.
    """

    folder: str
    is_run: bool
    version: str
    recipes: list[dict[str, str]]
    corpora: list[dict[str, str]]


class DistributionRequest(SamplingRequest):
    """A text, or its ids, and the options whose effect on the next token is asked for."""

    model: str
    prompt: str | list[int] = Field("", description="What the model has read, after the `<eos>` before every text.")
    likeliest: int = Field(12, ge=1, le=100, description="How many tokens to tell.")


class NextToken(AnswerBody):
    """A token that may come next.

    probability: the model's own · drawn: with which the options draw it, 0 where they leave it out.
    """

    token: str
    id: int
    probability: float
    drawn: float


class DistributionAnswer(AnswerBody):
    """The distribution of the next token before and after the options.

    ids: of the prompt · tokens: the likeliest before or after, by their own probability · drawable: number of tokens
    that the options leave · vocabulary: number of all tokens.
    """

    model: str
    ids: tuple[int, ...]
    tokens: list[NextToken]
    drawable: int
    vocabulary: int
