"""`[batches]`: how ids become batches."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, field_validator

from recurlm.config.section import BatchSize, Probability, Section


class StreamBatches(Section):
    """The text as one stream, cut into contiguous columns. The state is carried from batch to batch."""

    kind: Literal["stream"] = Field("stream", description="contiguous columns with carried state")
    batch_size: BatchSize = Field(20, description="columns B")
    bptt: BatchSize = Field(35, description="time steps T of a batch; the gradient flows through them")
    random_lengths: bool = Field(
        False,
        description="draws T from N(bptt, 5), one time in twenty from N(bptt / 2, 5), and scales the learning rate by "
        "T / bptt",
    )
    partial_shuffle: bool = Field(False, description="rotates each column by a random offset every epoch (Press 2019)")
    reset_probability: Probability = Field(
        0.0, description="probability, at each batch, that a column's carried state is set to zero (Melis et al. 2020)"
    )


class SentenceBatches(Section):
    """Sentences, each padded to the length of its bucket. Every sentence starts from a zero state."""

    kind: Literal["sentences"] = Field("sentences", description="bucketed sentences")
    batch_size: BatchSize = Field(50, description="sentences in a batch B")
    buckets: Annotated[tuple[BatchSize, ...], Field(max_length=1000)] | Literal["auto"] = Field(
        "auto", description="padded lengths; `auto` chooses them from the distribution of sentence lengths"
    )
    longer: Literal["keep", "discard"] = Field(
        "keep",
        description="sentences longer than the largest bucket: `keep` gives them their own buckets, `discard` leaves "
        "them out and reports their number",
    )
    remainder: Literal["keep", "drop"] = Field(
        "keep",
        description="sentences that do not fill a batch: `keep` makes a smaller batch, `drop` leaves them out and "
        "reports their number",
    )
    first_word: Literal["predicted", "given"] = Field(
        "predicted",
        description="`predicted` predicts the first word from `<eos>`; `given` does not, like MXNet's iterator",
    )
    padding: Literal["masked", "trained"] = Field(
        "masked",
        description="`masked` keeps padding out of the loss; `trained` counts it as MXNet's SoftmaxOutput does, for "
        "comparison only",
    )

    @field_validator("buckets")
    @classmethod
    def _increasing(cls, value: tuple[int, ...] | str) -> tuple[int, ...] | str:
        if not isinstance(value, str) and (not value or any(b <= a for a, b in itertools.pairwise(value))):
            raise ValueError("buckets must be increasing lengths, such as [10, 20, 40, 60, 80]")
        return value


Batches = Annotated[StreamBatches | SentenceBatches, Field(discriminator="kind")]
