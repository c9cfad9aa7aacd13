"""The course of a run: how far it has come, by its steps and by its clock, and what follows from that."""

from dataclasses import dataclass

from recurlm.config import Recipe
from recurlm.training.clock import Clock
from recurlm.training.counters import Counters
from recurlm.training.schedules import rate_factor


@dataclass(frozen=True)
class Course:
    """The learning rate, the validations and the end of a run, from its recipe, its clock and its counters.

    total_steps: steps of all epochs of the recipe.
    """

    recipe: Recipe
    clock: Clock
    total_steps: int

    @property
    def counters(self) -> Counters:
        """The counters of the run."""
        return self.clock.counters

    @property
    def share(self) -> float:
        """Fraction of the run that is done, 0 to 1: by steps or by time, whichever is further."""
        by_steps = self.counters.step / self.total_steps if self.recipe.training.until == "epochs" else 0.0
        return min(max(by_steps, self.clock.share), 1.0)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        factor = rate_factor(
            self.recipe.schedule,
            share=self.share,
            epoch=self._epochs_done,
            reductions=self.counters.reductions,
        )
        return self.recipe.optimizer.learning_rate * factor

    @property
    def _epochs_done(self) -> int:
        """Whole epochs done, or the epochs that the used time stands for if a time limit ends the run before them."""
        training = self.recipe.training
        by_time = 0.0 if training.until == "time" else self.clock.share
        return max(self.counters.epoch, min(int(by_time * training.epochs), training.epochs - 1))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end of the run, estimated, or the rest of its limit; None before the first step."""
        share = self.share
        estimate = self.counters.seconds * (1 - share) / share if share else None
        if self.clock.left is None:
            return estimate
        limit = max(self.clock.left, 0.0)
        return limit if estimate is None or self.recipe.training.until == "time" else min(limit, estimate)

    @property
    def validates(self) -> bool:
        """Whether the current epoch ends with a validation: every n-th if time permits, and the last."""
        epoch = self.counters.epoch + 1
        due = epoch % self.recipe.validation.every == 0 and self.clock.validation_is_due
        return due or self.ends_after(epoch)

    def ends_after(self, epochs: int) -> bool:
        """Whether this number of epochs, or the clock, ends the run."""
        training = self.recipe.training
        return self.clock.is_up or (training.until == "epochs" and epochs >= training.epochs)
