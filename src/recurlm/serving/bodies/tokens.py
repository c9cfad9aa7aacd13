"""Bodies of the routes between text and ids, as vLLM has them."""

from recurlm.serving.bodies.base import AnswerBody, RequestBody


class TokenizeRequest(RequestBody):
    """A text to cut into tokens.

    add_special_tokens has no effect: the `<eos>` before a text is the model's start and no token of the text.
    """

    model: str | None = None
    prompt: str
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokenizeAnswer(AnswerBody):
    """Ids of a text.

    count: number of ids · max_model_len: the longest prompt that the server reads · token_strs: the tokens as the
    vocabulary spells them, where asked for · unknown: the words that count as `<unk>`.
    """

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None
    unknown: list[str]


class DetokenizeRequest(RequestBody):
    """Ids to spell."""

    model: str | None = None
    tokens: list[int]


class DetokenizeAnswer(AnswerBody):
    """The text of ids; `<eos>` is a line feed."""

    prompt: str


class TokenizerInfo(AnswerBody):
    """How a model cuts text. A model has no token for the beginning and none for padding."""

    tokenizer_class: str
    unit: str
    cut: str
    vocab_size: int
    eos_token: str
    unk_token: str | None
    bos_token: str | None = None
    pad_token: str | None = None
    chat_template: str | None = None
