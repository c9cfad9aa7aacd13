"""`[training]` and `[validation]`: the loop, and what it measures."""

from typing import Annotated, Literal

from pydantic import Field

from recurlm.config.section import LARGEST_COUNT, BatchSize, Count, NotNegative, Positive, Section


class Training(Section):
    """The training loop."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(10, description="passes over the training text")
    until: Literal["epochs", "time"] = Field(
        "epochs",
        description="what sets the length of the run and its schedule. `epochs`: the epochs, or `--time-limit` if it "
        "ends earlier. `time`: `--time-limit` alone, with as many epochs as fit. The schedule `plateau` depends on "
        "validations alone",
    )
    clip_norm: Positive | None = Field(None, description="largest norm of the whole gradient")
    loss: Literal["token", "sequence"] = Field(
        "token",
        description="`token`: mean over tokens; `sequence`: sum over time, mean over the batch (Zaremba et al., MXNet)",
    )
    activation_penalty: NotNegative = Field(
        0.0,
        description="AR's alpha (Merity et al. 2017): adds alpha times the mean square of the last layer's outputs "
        "after dropout, in nats a token; logs and perplexities do not include it",
    )
    slowness_penalty: NotNegative = Field(
        0.0,
        description="TAR's beta: adds beta times the mean square of the change of the last layer's outputs from "
        "step to step, before dropout",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="type of matrix products; `auto` is bf16 where the processor multiplies bf16 in hardware"
    )
    patience: Count | None = Field(None, description="stops the run after this many validations without a better one")
    log_every: Count = Field(50, description="steps between log lines")
    checkpoint_seconds: Positive = Field(60.0, description="seconds between checkpoints inside an epoch")


class Validation(Section):
    """What training measures, and how."""

    split: Literal["valid", "test"] = Field(
        "valid", description="the measured split; `test` only to repeat the seed document"
    )
    every: Count = Field(
        1, description="epochs between validations; each validation writes a checkpoint; the last epoch always has one"
    )
    protocol: Literal["stream", "sentence", "mxnet"] = Field("stream", description="how perplexity is counted")
    columns: BatchSize = Field(
        16,
        description="columns read side by side during training; 1 is the exact stream, which the end of the run uses",
    )
    warm_up: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = Field(
        256,
        description="tokens before each column that are read after `<eos>` but not counted, so that the column begins "
        "in a state that the exact stream could reach; 0 begins from zeros. One column needs no warm-up",
    )
    full_batches: BatchSize | None = Field(
        None, description="measures full batches of this size only and drops the rest, as MXNet does"
    )
    keep: Literal["best", "last"] = Field("best", description="which weights the run folder keeps")
