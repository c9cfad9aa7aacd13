"""Bodies about the server itself."""

from recurlm.serving.bodies.base import AnswerBody


class Status(AnswerBody):
    """How the server does: `ok`."""

    status: str


class ModelCard(AnswerBody):
    """A served model, in OpenAI's form with a few fields more.

    created: when it was loaded, in seconds since 1970 · digest: SHA-256 of weights and vocabulary · unit: what a token
    is: word, character or bpe.
    """

    id: str
    object: str = "model"
    created: int
    owned_by: str = "recurlm"
    digest: str
    unit: str
    vocabulary: int
    parameters: int


class ModelList(AnswerBody):
    """All served models."""

    object: str = "list"
    data: list[ModelCard]
