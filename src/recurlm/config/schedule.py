"""`[schedule]`: how the learning rate changes during a run."""

from typing import Annotated, Literal

from pydantic import Field

from recurlm.config.section import Count, CountOrZero, Divisor, Probability, Section


class ConstantSchedule(Section):
    """The learning rate does not change."""

    kind: Literal["constant"] = Field("constant", description="no change")


class StepSchedule(Section):
    """Divides by `divisor` after each epoch beyond `after` (Zaremba et al. 2014)."""

    kind: Literal["step"] = Field("step", description="divides at the end of epochs")
    divisor: Divisor = Field(2.0, description="what the learning rate is divided by")
    after: CountOrZero = Field(4, description="epochs at the full learning rate")
    every: Count = Field(1, description="epochs between divisions")


class CosineSchedule(Section):
    """Linear warm-up, then half a cosine down to `final` times the highest learning rate."""

    kind: Literal["cosine"] = Field("cosine", description="warm-up, then half a cosine")
    warmup: Probability = Field(0.05, description="share of the run in which the learning rate rises")
    final: Probability = Field(0.0, description="last learning rate as a share of the highest")


class OneCycleSchedule(Section):
    """A cosine from `initial` up to the highest learning rate, then a cosine down to `final` (Smith and Topin 2019)."""

    kind: Literal["one-cycle"] = Field("one-cycle", description="a cosine up, then a cosine down")
    warmup: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="share of the run in which the learning rate rises"
    )
    initial: Annotated[float, Field(gt=0, le=1)] = Field(
        0.04, description="first learning rate as a share of the highest"
    )
    final: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0001, description="last learning rate as a share of the highest"
    )


class PlateauSchedule(Section):
    """Divides when the loss has not improved for more than `patience` validations."""

    kind: Literal["plateau"] = Field("plateau", description="divides when validation stops improving")
    divisor: Divisor = Field(4.0, description="what the learning rate is divided by")
    patience: CountOrZero = Field(0, description="validations without improvement that are tolerated")


Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule,
    Field(discriminator="kind"),
]
