"""The steps of a run, plain or captured, and the counts of what they measured."""

from collections.abc import Callable
from pathlib import Path

from recurlm.models.state import LayerStates
from recurlm.text.batching import Batch
from recurlm.training.captured import open_captured_steps
from recurlm.training.counters import Counters
from recurlm.training.step import DivergedError, Learner, train_step


class Stepper:
    """Takes the steps of a run and counts their nats and tokens.

    A plain step is counted at once. The counts of captured steps stay on the device until `collect`.
    """

    def __init__(self, learner: Learner, counters: Counters, run: Path, say: Callable[[str], None]) -> None:
        """`run` is the folder that errors name; `say` receives a line if steps cannot be captured."""
        self.learner, self.counters, self.run = learner, counters, run
        self.captured = open_captured_steps(learner, say)
        self._uncollected_steps = 0

    def step(self, batch: Batch, state: LayerStates) -> LayerStates:
        """Trains on one batch; returns the state to carry on. Raises DivergedError after a plain step."""
        counters = self.counters
        if self.captured is None:
            state = self._plain_step(batch, state)
        else:
            state = self.captured.step(batch, state)
            self._uncollected_steps += 1
        counters.step += 1
        counters.index += 1
        counters.window_sentences += batch.sentences
        return state

    def collect(self) -> None:
        """Counts the captured steps since the last call. Raises DivergedError if the loss of one is not finite."""
        if self.captured is None:
            return
        nats, tokens, good_steps, loss = self.captured.tally.take().tolist()
        if good_steps < self._uncollected_steps:
            first_bad = self.counters.step - self._uncollected_steps + int(good_steps) + 1
            raise self._diverged(f"the loss is {loss}", first_bad)
        self._uncollected_steps = 0
        self.counters.count(nats, int(tokens))

    def _plain_step(self, batch: Batch, state: LayerStates) -> LayerStates:
        try:
            result, state = train_step(self.learner, batch.to(self.learner.model.device), state)
        except DivergedError as error:
            raise self._diverged(str(error), self.counters.step + 1) from error
        self.counters.count(result.nats, result.tokens)
        return state

    def _diverged(self, what: str, step: int) -> DivergedError:
        return DivergedError(
            f"{what} at step {step:,}; the last good checkpoint in {self.run} is untouched\n"
            "begin another run with a lower optimizer.learning_rate or a smaller training.clip_norm"
        )
