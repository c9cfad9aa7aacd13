"""The entries of metrics.jsonl about steps and epochs, and the same numbers for people."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from recurlm.evaluation.perplexity import Perplexity
from recurlm.progress import hours_minutes_seconds
from recurlm.training.course import Course


@dataclass(frozen=True)
class StepEntry:
    """A logged step.

    epoch: from 1 · seconds: of training and validation · share: fraction of the run that is done ·
    loss: nats a token since the last entry · perplexity: since the epoch began · lr: learning rate of the next step ·
    tokens_per_second, sentences_per_second: since the last entry · estimated: whether losses are estimates from a
    sample of the vocabulary.
    """

    step: int
    epoch: int
    tokens: int
    seconds: float
    share: float
    loss: float
    perplexity: float
    lr: float
    tokens_per_second: float | None
    sentences_per_second: float | None
    seconds_left: float | None
    estimated: bool

    @classmethod
    def of(cls, course: Course, *, estimated: bool) -> "StepEntry":
        """The entry of the step that was just done."""
        counters = course.counters
        return cls(
            step=counters.step,
            epoch=counters.epoch + 1,
            tokens=counters.tokens,
            seconds=round(counters.seconds, 3),
            share=course.share,
            loss=counters.window_loss,
            perplexity=counters.epoch_perplexity,
            lr=course.learning_rate,
            tokens_per_second=counters.tokens_per_second,
            sentences_per_second=counters.sentences_per_second,
            seconds_left=course.seconds_left,
            estimated=estimated,
        )

    def to_json(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        values = asdict(self)
        if not values.pop("estimated"):
            return {"event": "step"} | values
        return {"event": "step"} | values | {"estimated": True}

    def line(self) -> str:
        """The line of the plain log."""
        return (
            f"epoch {self.epoch}  step {self.step:,}  loss {self.loss:.4f}  "
            f"{perplexity_name(self.estimated)} {self.perplexity:.2f}  lr {self.lr:.3g}  "
            f"{self.tokens_per_second or 0:,.0f} tokens/s  {self.sentences_per_second or 0:,.0f} sentences/s  "
            f"left {hours_minutes_seconds(self.seconds_left)}"
        )


@dataclass(frozen=True)
class EpochEntry:
    """A validated epoch.

    figures: at its end, with the loss of the whole epoch · averaged: weights averaged so far, None without an average.
    """

    figures: StepEntry
    validated: Perplexity
    averaged: int | None

    @classmethod
    def of(cls, course: Course, validated: Perplexity, *, estimated: bool, averaged: int | None) -> "EpochEntry":
        """The entry of the epoch that was just validated."""
        figures = StepEntry.of(course, estimated=estimated)
        return cls(replace(figures, loss=course.counters.epoch_loss), validated, averaged)

    def to_json(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        own = {"event": "epoch", "valid_perplexity": self.validated.value, "signature": self.validated.signature}
        return self.figures.to_json() | own | ({} if self.averaged is None else {"averaged": self.averaged})

    def line(self, split: str) -> str:
        """The line of the log; `split` is the split that was validated."""
        figures = self.figures
        return (
            f"epoch {figures.epoch}: training {perplexity_name(figures.estimated)} {figures.perplexity:.2f}, "
            f"{split} {self.validated.value:.2f}  [{self.validated.signature}]"
        )


def live_line(course: Course, *, estimated: bool) -> str:
    """The text beside the progress bar."""
    counters, training = course.counters, course.recipe.training
    of = f"/{training.epochs}" if training.until == "epochs" else ""
    return beside_bar(
        course,
        f"epoch {counters.epoch + 1}{of}  "
        f"{perplexity_name(estimated)} {counters.epoch_perplexity:.1f}  {counters.tokens_per_second or 0:,.0f} tok/s  "
        f"loss {counters.window_loss:.3f}  lr {course.learning_rate:.2g}  "
        f"{counters.sentences_per_second or 0:,.0f} sent/s",
    )


def beside_bar(course: Course, doing: str) -> str:
    """The text beside the progress bar: the time left, unless the run is about to end, and what the run does."""
    left = course.seconds_left
    return doing if left is not None and left < 1 else f"{hours_minutes_seconds(left)} left  {doing}"


def perplexity_name(estimated: bool) -> str:
    """The name of a training perplexity, which says if it is an estimate."""
    return "perplexity (estimated)" if estimated else "perplexity"
