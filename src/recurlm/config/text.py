"""`[text]`: how a text becomes tokens and ids."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recurlm.config.section import LARGEST_COUNT, Count, Section

USUAL_MERGES = 8000

DocumentRule = Literal["file", "blank-line", "line"]
"""Where a document begins: at each file, also after blank lines, or at each line."""


class TextOptions(Section):
    """How the text is split into tokens, and which tokens get an id."""

    unit: Literal["word", "character", "bpe"] = Field("word", description="what one token is")
    cut: Literal["auto", "spaces", "prose"] = Field(
        "auto",
        description="how words are cut: at spaces alone; as prose, at the word boundaries of Unicode (UAX 29), with "
        "punctuation apart; auto: at spaces in a named corpus and in tokenized text, as prose in raw text",
    )
    lowercase: bool = Field(False, description='words in lower case; chooses `cut = "prose"`')
    digits: Literal["keep", "mask"] = Field(
        "keep", description='`mask` writes every digit as 0; chooses `cut = "prose"`'
    )
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
    document: DocumentRule = Field(
        "file",
        description="where a carried state starts again from zero: at each file, also after blank lines, or at each "
        "line",
    )
    merges: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description='size of the byte-pair vocabulary, 8000 unless given; belongs to `unit = "bpe"`'
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_merges(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("unit") == "bpe" and values.get("merges") is None:
            return {**values, "merges": USUAL_MERGES}
        return values

    @model_validator(mode="before")
    @classmethod
    def _prose_implied(cls, values: Any) -> Any:
        """Options of prose choose prose where the cut is left open."""
        if isinstance(values, dict) and _asks_for_prose(values):
            return {**values, "cut": "prose"}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "TextOptions":
        if self.unit != "bpe" and self.merges is not None:
            raise ValueError('merges belongs to unit = "bpe"')
        if self.unit != "word" and self.cut == "prose":
            raise ValueError('cut = "prose" belongs to unit = "word"')
        if self.cut != "prose" and (self.lowercase or self.digits == "mask"):
            raise ValueError('lowercase and digits = "mask" belong to words with cut = "prose"')
        if not self.unknown and (self.minimum_count > 1 or self.maximum_size is not None):
            raise ValueError("minimum_count and maximum_size turn rare tokens into <unk>, so unknown must be true")
        return self


def _asks_for_prose(values: dict[str, Any]) -> bool:
    open_cut = values.get("unit", "word") == "word" and values.get("cut", "auto") == "auto"
    return open_cut and (values.get("lowercase") is True or values.get("digits") == "mask")
