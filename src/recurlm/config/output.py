"""`[model.output]`: the layer that turns hidden states into probabilities of tokens."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, field_validator

from recurlm.config.section import Count, Probability, Section


class SoftmaxOutput(Section):
    """One softmax over all tokens."""

    kind: Literal["softmax"] = Field("softmax", description="one softmax over all tokens")


class SampledOutput(Section):
    """One softmax over all tokens, trained on a sample of the tokens at each step. Evaluation uses all tokens."""

    kind: Literal["sampled"] = Field("sampled", description="one softmax, trained on a sample of the tokens")
    tokens: Count = Field(512, description="tokens in a sample; a smaller vocabulary is used whole")
    exponent: Annotated[float, Field(ge=0, le=10)] = Field(
        0.75,
        description="a token's chance to be sampled falls with this power of its frequency rank; the most frequent "
        "tokens are always sampled",
    )


class MixtureOutput(Section):
    """A mixture of softmaxes (Yang et al. 2018). Tied, it allows a last hidden size other than `embedding_size`."""

    kind: Literal["mixture"] = Field("mixture", description="a mixture of softmaxes that share one matrix")
    experts: Annotated[int, Field(ge=1, le=10_000)] = Field(15, description="number of softmaxes K in the mixture")
    dropout: Probability = Field(0.0, description="dropout on the hidden states of the experts")


class AdaptiveOutput(Section):
    """Adaptive softmax for large vocabularies (Grave et al. 2017): rare words in clusters with smaller matrices."""

    kind: Literal["adaptive"] = Field("adaptive", description="rare words in clusters with smaller matrices")
    cutoffs: Annotated[tuple[Count, ...], Field(max_length=100)] = Field(
        (2000, 10000), description="the first id of each cluster; the head holds the ids before the first cutoff"
    )
    divisor: Annotated[float, Field(ge=1, le=1000)] = Field(
        4.0, description="each cluster's projection is this many times smaller than the one before"
    )

    @field_validator("cutoffs")
    @classmethod
    def _increasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(after <= before for before, after in itertools.pairwise(value)):
            raise ValueError("cutoffs must be increasing ids, such as [2000, 10000]")
        return value


Output = Annotated[SoftmaxOutput | SampledOutput | MixtureOutput | AdaptiveOutput, Field(discriminator="kind")]
