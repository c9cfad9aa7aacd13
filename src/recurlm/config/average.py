"""`[average]`: an average of the weights over time, which is then validated and kept."""

from typing import Annotated, Literal

from pydantic import Field

from recurlm.config.section import Count, CountOrZero, Probability, Section


class NoAverage(Section):
    """The last weights are validated and kept."""

    kind: Literal["none"] = Field("none", description="no average")


class ExponentialAverage(Section):
    """a ← a + max(1/n, 1 − decay)(w − a) from the first step on, n counting the averaged weights."""

    kind: Literal["exponential"] = Field("exponential", description="newer weights count more")
    decay: Annotated[float, Field(gt=0, lt=1)] = Field(0.999, description="share of the average that each update keeps")
    every: Count = Field(1, description="steps between updates of the average")


class TailAverage(Section):
    """The mean of the weights over the last part of the run (Polyak and Juditsky 1992)."""

    kind: Literal["tail"] = Field("tail", description="the mean over the end of the run")
    start: Probability = Field(0.8, description="share of the run after which averaging begins")
    every: Count = Field(1, description="steps between updates of the average")


class NonMonotoneAverage(Section):
    """The mean since validation stopped improving. With SGD this is NT-ASGD (Merity et al. 2018)."""

    kind: Literal["non-monotone"] = Field("non-monotone", description="the mean since validation got worse")
    interval: CountOrZero = Field(
        5,
        description="n: averaging begins when a validation is worse than the best of all validations before the last n",
    )
    every: Count = Field(1, description="steps between updates of the average")


Average = Annotated[NoAverage | ExponentialAverage | TailAverage | NonMonotoneAverage, Field(discriminator="kind")]
