"""`[text]`: how a text becomes tokens and ids."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recurlm.config.section import LARGEST_COUNT, Count, Section


class TextOptions(Section):
    """How the text is split into tokens, and which tokens get an id."""

    unit: Literal["word", "character", "bpe"] = Field("word", description="what one token is")
    order: Literal["frequency", "appearance"] = Field(
        "frequency",
        description="order of the ids: by falling frequency, or by first appearance as in `mx.rnn.encode_sentences`; "
        "byte pairs have their own order",
    )
    minimum_count: Count = Field(
        1,
        description="a word or character that occurs less often becomes `<unk>`; a text that already contains `<unk>` "
        "is not changed",
    )
    maximum_size: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] | None = Field(
        None, description="largest size of a vocabulary of words or characters; `<eos>` and `<unk>` count"
    )
    unknown: bool = Field(
        True, description="gives a vocabulary of words or characters an `<unk>` even if the training text has none"
    )
    merges: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description='size of the byte-pair vocabulary; belongs to `unit = "bpe"`'
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TextOptions":
        if (self.unit == "bpe") != (self.merges is not None):
            raise ValueError('merges belongs to unit = "bpe", and that unit needs it (8000 is a good start)')
        if not self.unknown and (self.minimum_count > 1 or self.maximum_size is not None):
            raise ValueError("minimum_count and maximum_size turn rare tokens into <unk>, so unknown must be true")
        return self
