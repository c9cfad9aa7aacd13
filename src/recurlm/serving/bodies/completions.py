"""Bodies of `/v1/completions`, in OpenAI's form."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from recurlm.serving.bodies.base import AnswerBody, RequestBody

PROMPT_FORMS = "must be a text, a list of texts, a list of ids, or a list of lists of ids"
Given = str | tuple[int, ...]
"""One prompt: a text or ids."""


def _prompts(value: Any) -> tuple[Given, ...]:
    """The prompts of a request in any of OpenAI's four forms. Raises ValueError for another form."""
    if value is None or isinstance(value, str):
        return (value or "",)
    if not isinstance(value, list) or not value:
        raise ValueError(PROMPT_FORMS)
    if all(type(each) is int for each in value):
        return (tuple(value),)
    return tuple(map(_prompt, value))


def _prompt(value: Any) -> Given:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise ValueError(PROMPT_FORMS)
    return tuple(value)


_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_PROMPT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        _IDS,
        {"type": "array", "items": _IDS, "minItems": 1},
        {"type": "null"},
    ],
    "default": "",
    "title": "Prompt",
    "description": "A text, a list of texts, a list of ids, or a list of lists of ids.",
}
Prompts = Annotated[tuple[Any, ...], BeforeValidator(_prompts), WithJsonSchema(_PROMPT_SCHEMA)]


class StreamOptions(RequestBody):
    """What a stream holds beside the texts: `include_usage` adds a last event with the numbers of tokens."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingRequest(RequestBody):
    """From which distribution tokens are drawn."""

    temperature: float | None = Field(None, ge=0, description="1 unless given; 0 always takes the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, description="Not OpenAI's: draw from the k likeliest tokens.")
    min_p: float | None = Field(None, gt=0, le=1, description="Not OpenAI's: least share of the likeliest's chance.")
    typical: float | None = Field(None, gt=0, le=1, description="Not OpenAI's: tokens of expected surprisal.")
    repetition_penalty: float | None = Field(None, ge=0.001, le=1000, description="Not OpenAI's: above 1 repeats less.")
    ban: list[str] | None = Field(None, description="Not OpenAI's: tokens that are never drawn.")
    allow_unk: bool | None = Field(None, description="Not OpenAI's: also draw `<unk>`.")


class DrawingRequest(SamplingRequest):
    """How tokens are drawn, and what the answer tells of them."""

    max_tokens: int | None = Field(None, ge=0, description="Tokens to draw at most; 16 unless given.")
    stop: str | list[str] | None = Field(None, description="A text ends before the first token of a stop text.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63, description="Repeats a text, byte for byte.")
    logprobs: int | None = Field(
        None, ge=0, description="Tell log-probabilities, each with this many likeliest tokens."
    )
    stream: bool | None = None
    until_eos: bool | None = Field(None, description="Not OpenAI's: end with the sentence.")


class CompletionRequest(DrawingRequest):
    """A request for texts. Fields that would change the result and that this server lacks are refused."""

    model: str | None = Field(None, description="Name of a served model; may be left out where there is one.")
    prompt: Prompts = ("",)
    n: int | None = Field(None, ge=1, description="Texts for each prompt.")
    echo: bool | None = Field(None, description="Answer with the prompt before the text.")
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Ignored.")
    best_of: int | None = Field(None, description="Must equal `n`.")
    suffix: str | None = Field(None, description="Must be empty.")
    presence_penalty: float | None = Field(None, description="Must be 0; see `repetition_penalty`.")
    frequency_penalty: float | None = Field(None, description="Must be 0; see `repetition_penalty`.")
    logit_bias: dict[str, float] | None = Field(None, description="Must be empty; see `ban`.")


class CompletionLogprobs(AnswerBody):
    """Natural log-probabilities, an entry for each token.

    tokens: as the vocabulary spells them · token_logprobs: null for an `<eos>` with which a prompt begins, since
    nothing precedes it · top_logprobs: the likeliest tokens and the token itself · text_offset: where the token's text
    begins, in characters from the start of the prompt.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(AnswerBody):
    """One text. `finish_reason` is `length`, or `stop` for a stop text or the end of a sentence."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Usage(AnswerBody):
    """Numbers of tokens: read, drawn, and both."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(AnswerBody):
    """The answer to a request for texts, or one event of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
