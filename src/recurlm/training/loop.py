"""The training loop: steps, validations, checkpoints. A run can stop after any step and resume bit for bit."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from recurlm.errors import StoppedError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.models.outputs import sample_size
from recurlm.progress import Watcher, say_all
from recurlm.runs.computation import computation, computing_threads
from recurlm.runs.folder import METRICS_FILE, MODEL_FILE
from recurlm.tensor_files import tensor_bytes, tensors
from recurlm.text.batching import Batch
from recurlm.training.advice import advice, validation_warnings
from recurlm.training.averaging import addition_is_due, open_average
from recurlm.training.checkpointing import Checkpointer, TrainingState, share_start
from recurlm.training.clock import Clock
from recurlm.training.course import Course
from recurlm.training.entries import EpochEntry, StepEntry, beside_bar, live_line
from recurlm.training.journal import Journal, Mirror
from recurlm.training.optimizers import build_optimizer, set_rate
from recurlm.training.planning import drop_exactness, plan_measuring, renew_estimate
from recurlm.training.prepared import PreparedRun
from recurlm.training.result import Result
from recurlm.training.step import Learner
from recurlm.training.stepper import Stepper
from recurlm.training.stopping import AgreedStop, Stop, StopRequest
from recurlm.training.validation import Validator

AfterValidation = Callable[[int, Perplexity], None]
"""Called with the number of an epoch, from 1, and its validation; may raise to end the run.

If a process is killed before it saves the end of an epoch, the process that resumes calls this for the epoch again.
"""


class Trainer:
    """A run in progress.

    Each epoch takes its steps and ends with a validation if one is due; `Stepper` takes the steps, `Validator`
    measures, `Course` tells the learning rate and the end, and `Checkpointer` saves and restores `state`.
    """

    def __init__(
        self,
        run: PreparedRun,
        watcher: Watcher,
        clock: Clock | None = None,
        *,
        mirror: Mirror | None = None,
        after_validation: AfterValidation | None = None,
    ) -> None:
        """`clock` has the time limit, if there is one; `mirror` receives the entries of the journal too."""
        recipe, model, self.team = run.recipe, run.model, run.team
        self.run, self.watcher, self.after_validation = run, watcher, after_validation
        self.clock = clock or Clock()
        self.counters = self.clock.counters
        optimizer = build_optimizer(recipe.optimizer, model)
        self.learner = Learner(model, optimizer, recipe.training, run.config.precision, self.team)
        self.average = open_average(recipe.average, model)
        self.state = TrainingState(model, optimizer, self.average, self.counters, team=self.team)
        self.stepper = Stepper(self.learner, self.counters, run.folder.path, watcher.say)
        self.course = Course(recipe, self.clock, run.batches.total_length(recipe.training.epochs))
        self.validator = Validator(model, run.corpus, recipe, self.clock.now, team=self.team)
        self.checkpointer = Checkpointer(run.folder, self.state, recipe.training.checkpoint_seconds, self.clock.now)
        self.journal = Journal(run.folder.path / METRICS_FILE, mirror, writes=self.team.leads)
        self.estimated = sample_size(model.decoder) is not None

    def fit(self, stop_request: StopRequest) -> Result:
        """Trains until the recipe or the time limit ends the run.

        Raises StoppedError if `stop_request` asks for it, after a checkpoint; DivergedError if the loss is not finite.
        """
        stop = AgreedStop(stop_request, self.team)
        with self.run.claim, computing_threads(self.run.threads):
            self._resume_and_plan()
            with self.journal.open_at(step=self.counters.step, epochs=self.counters.epoch):
                self._begin()
                while not self.counters.finished:
                    self._train_epoch(stop)
                    if self.course.validates:
                        self._validate(stop)
                    else:
                        self._close_epoch()
                return self._finish(stop)

    def _resume_and_plan(self) -> None:
        """Restores the newest checkpoint, and tells the user what validation will cost."""
        resumed = self.checkpointer.resume(self.watcher.warn)
        share_start(self.team, self.run.model)
        if resumed:
            self.watcher.say(f"going on after step {self.counters.step:,}")
        if self.clock.limit is None:
            # a run that was finished goes on if it is resumed with more epochs
            self.counters.finished = self.counters.finished and self._is_over
            say_all(self.watcher, validation_warnings(self.run.corpus, self.run.recipe))
            return
        saved = sum(tensor.numel() * tensor.element_size() for tensor in self.run.model.weights().values())
        say_all(self.watcher, plan_measuring(self.clock, self.validator, begins=not resumed, saved=saved))

    def _begin(self) -> None:
        """Logs what computes the run, and starts the clock."""
        begun = {"event": "resume" if self.counters.step else "begin", "step": self.counters.step}
        begun |= {"processes": self.team.count} if self.team.count > 1 else {}
        self.journal.write(begun | computation(self.run.model.device.type))
        self.clock.start()
        self.checkpointer.restart_interval()

    def _train_epoch(self, stop: Stop) -> None:
        """Takes the steps that the epoch still has, or fewer if the time is up."""
        self.run.model.train()
        for batch in self.run.batches.batches(self.counters.epoch, self.counters.index):
            if self.clock.is_up:
                break
            self._step(batch)
            self.clock.lap()
            self._report_step()
            if stop.requested:
                self._stop()
            if self.checkpointer.is_due:
                self.save()

    def _step(self, batch: Batch) -> None:
        """Takes one step, with the state carried from the step before if the batch continues it."""
        if self.team.count > 1:
            batch = batch.cut(self.team.columns(batch.columns))
        carried = self.state.carried
        if carried is None or not batch.carried:
            carried = self.run.model.initial_state(batch.columns)
        set_rate(self.learner.optimizer, self.course.learning_rate * batch.rate)
        self.state.carried = self.stepper.step(batch, carried)
        self._average_weights()

    def _average_weights(self) -> None:
        if self.average is not None and addition_is_due(
            self.run.recipe.average,
            count=self.average.count,
            step=self.counters.step,
            share=self.course.share,
            validations=self.counters.validations,
        ):
            self.average.add()

    def _report_step(self) -> None:
        """Updates the live line; logs the step if it is one of those that the recipe logs."""
        logged = self.counters.step % self.run.recipe.training.log_every == 0
        if logged:
            self.stepper.collect()
        live = live_line(self.course, estimated=self.estimated)
        if logged:
            entry = StepEntry.of(self.course, estimated=self.estimated)
            self.journal.write(entry.to_json())
            self.watcher.step(entry.line())
            self.counters.open_window()
        self.watcher.tick(self.course.share, live)

    def _validate(self, stop: Stop) -> None:
        """Validates the averaged weights, or the weights if there is no average, and closes the epoch."""
        counters, began = self.counters, self.counters.seconds
        self.save()
        self.clock.lap()
        saving = counters.seconds - began
        with nullcontext() if self.average is None else self.average.in_model():
            self._judge(stop)
        renew_estimate(self.clock, self.validator)
        self.clock.lap()
        seconds = counters.seconds - began + saving  # the end of the epoch is saved once more below
        counters.longest_validation = max(counters.longest_validation, seconds)
        counters.validation_seconds += seconds
        counters.validated_at = counters.seconds
        self._close_epoch()
        say_all(self.watcher, drop_exactness(self.clock))
        self.save()

    def _judge(self, stop: Stop) -> None:
        """Measures the validation text, keeps the model if it is the best, and logs the epoch."""
        split = self.run.recipe.validation.split
        measured = self._measure(split, stop, "validating")
        kept = self.validator.judge(measured, self.counters)
        with self.team.in_own_time():
            if kept and self.team.leads:
                self.run.folder.save_model(tensor_bytes(self.run.model.weights()))
        self.clock.lap()
        averaged = None if self.average is None else self.average.count
        entry = EpochEntry.of(self.course, measured, estimated=self.estimated, averaged=averaged)
        self.journal.write(entry.to_json())
        self.watcher.epoch(entry.line(split), self.validator.specimen() if self.team.leads else None)
        if self.after_validation is not None:
            self.after_validation(entry.figures.epoch, measured)

    def _close_epoch(self) -> None:
        """Counts the epoch, reduces the learning rate on a plateau, and decides whether the run is over."""
        self.stepper.collect()
        # machines may round differently, and the weights must not drift apart
        self.team.copy_first(list(self.run.model.weights().values()))
        counters, schedule = self.counters, self.run.recipe.schedule
        if schedule.kind == "plateau" and counters.waited > schedule.patience:
            counters.reductions += 1
            counters.waited = 0
        counters.close_epoch()
        self.state.carried = None
        counters.finished = self._is_over

    @property
    def _is_over(self) -> bool:
        """Whether the epochs that are done, the patience of the recipe, or the clock ends the run."""
        counters, patience = self.counters, self.run.recipe.training.patience
        out_of_patience = patience is not None and counters.validations_without_gain >= patience
        return out_of_patience or self.course.ends_after(counters.epoch)

    def _finish(self, stop: Stop) -> Result:
        """Measures the model that was kept, on every held-out text, and logs the result."""
        folder, counters = self.run.folder, self.counters
        with self.team.in_own_time():
            self.run.model.load_weights(tensors(folder.read(MODEL_FILE), folder.path))
        measured = {
            split: self._measure(split, stop, f"evaluating {split}", exact=counters.exact)
            for split in self.validator.held_out
        }
        self.clock.lap()
        valid, test = measured.get("valid") or measured["test"], measured.get("test")
        note = advice(valid, counters, self.validator, self.run.recipe.training.epochs, self.clock.limit)
        result = Result(str(folder.path), counters.epoch, counters.step, counters.seconds, valid, test, note)
        self.journal.write({"event": "final", "step": counters.step} | result.to_json())
        if self.team.leads:
            folder.seal([METRICS_FILE])
        return result

    def _measure(self, split: str, stop: Stop, doing: str, *, exact: bool = False) -> Perplexity:
        def done(part: float) -> None:
            self.watcher.tick(self.course.share, beside_bar(self.course, f"{doing} {part:.0%}"))
            if stop.requested:
                self._stop(save=False)

        measured = self.validator.measure(split, exact=exact, done=done)
        # machines may round differently, but all processes have to decide alike
        return replace(measured, nats=self.team.first(measured.nats))

    def save(self) -> None:
        """Writes a checkpoint. Raises DivergedError if the loss or a weight is not finite."""
        self.stepper.collect()
        self.checkpointer.save()

    def _stop(self, *, save: bool = True) -> None:
        if save:
            self.save()
        raise StoppedError(
            f"stopped at step {self.counters.step:,}; go on with the same command and --resume "
            f"(checkpoint in {self.run.folder.path})"
        )
