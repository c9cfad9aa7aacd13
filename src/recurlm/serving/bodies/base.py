"""What the bodies of all requests and answers have in common."""

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A body that a client sends: no unknown fields, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AnswerBody(BaseModel):
    """A body that the server sends; it stands in the OpenAPI description."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ErrorDetails(AnswerBody):
    """What is wrong, in OpenAI's form.

    message: plain words · type: the kind of error · param: the field that is wrong · code: a name for programs.
    """

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(AnswerBody):
    """The answer to a request that failed."""

    error: ErrorDetails
