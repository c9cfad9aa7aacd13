"""Fit: steps, validation, checkpoints. A run can stop after any step and go on bit for bit."""

import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurlm.config import Recipe, Training
from recurlm.errors import CorruptFileError, StoppedError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.generation.sampling import SamplingOptions, sample
from recurlm.models.language_model import LanguageModel
from recurlm.models.outputs import sample_size
from recurlm.models.state import LayerStates, restart
from recurlm.progress import Watcher, clock, perplexity_name, say_all
from recurlm.runs.computation import computation
from recurlm.runs.folder import METRICS_FILE, RunFolder
from recurlm.tensor_files import tensor_bytes, tensors
from recurlm.text.batching import Batch, BatchSource
from recurlm.text.store import PreparedCorpus
from recurlm.training.advice import advice, validation_warnings
from recurlm.training.averaging import average_begins, open_average
from recurlm.training.captured import open_captured_steps
from recurlm.training.clock import Clock, now
from recurlm.training.counters import Counters, Result
from recurlm.training.journal import Journal, Mirror
from recurlm.training.optimizers import build_optimizer, optimizer_tensors, restore_optimizer, set_rate
from recurlm.training.schedules import rate_factor
from recurlm.training.step import DivergedError, train_step
from recurlm.training.stopping import StopRequest
from recurlm.training.validation import Validator, plan_measuring

SPECIMEN_TEMPERATURE = 0.8
SPECIMEN_TOKENS = {"word": 20, "bpe": 30, "character": 100}

AfterValidation = Callable[[int, Perplexity], None]
"""Called with the number of an epoch, from 1, and what validation gave; may raise to end the run.

It is called once more for the same epoch where a run was killed before it could save that the epoch is over.
"""


class Trainer:
    """A run in progress: model, optimizer, data, counters, folder."""

    def __init__(
        self,
        recipe: Recipe,
        model: LanguageModel,
        source: BatchSource,
        corpus: PreparedCorpus,
        folder: RunFolder,
        watcher: Watcher,
        *,
        precision: str = "fp32",
        clock: Clock | None = None,
        mirror: Mirror | None = None,
        after_validation: AfterValidation | None = None,
        claim: AbstractContextManager[object] | None = None,
    ) -> None:
        """`clock` has the time limit, if there is one; `mirror` gets what the journal gets; `claim` ends with `fit`."""
        self.claim = claim or nullcontext()
        self.mirror, self.after_validation = mirror, after_validation
        self.recipe, self.model, self.source, self.corpus = recipe, model, source, corpus
        self.folder, self.watcher = folder, watcher
        self.precision = precision
        self.validator = Validator(model, corpus, recipe)
        self.optimizer = build_optimizer(recipe.optimizer, model)
        self.captured = open_captured_steps(model, self.optimizer, recipe.training, precision, watcher.say)
        self.average = open_average(recipe.average, model)
        self.counters = Counters()
        self.clock = clock or Clock()
        self.clock.counters = self.counters
        self.state: LayerStates | None = None
        self._uncounted_steps = 0
        self.total_steps = source.total_length(recipe.training.epochs)

    def fit(self, stop: StopRequest) -> Result:
        """Train to the end of the recipe or of the time. Raises StoppedError or DivergedError, checkpoint kept."""
        with self.claim:
            return self._fit(stop)

    def _fit(self, stop: StopRequest) -> Result:
        begins = not self._resume()
        self._plan(begins)
        self.journal = Journal(
            self.folder.path / METRICS_FILE,
            step=self.counters.step,
            epochs=self.counters.epoch,
            mirror=self.mirror,
        )
        begun = {"event": "resume" if self.counters.step else "begin", "step": self.counters.step}
        self.journal.write(begun | computation(self.model.device.type))
        self.clock.start(self.counters)
        self._saved = now()
        try:
            while not self.counters.finished:
                self._epoch(stop)
                if self._is_validated():
                    self._validate(stop)
                else:
                    self._close_epoch()
            return self._finish(stop)
        finally:
            self.journal.close()

    @property
    def share(self) -> float:
        """How much of the run is done: in steps, or in time where that ends first or alone counts."""
        by_steps = self.counters.step / self.total_steps if self.recipe.training.until == "epochs" else 0.0
        return min(max(by_steps, self.clock.share), 1.0)

    def _plan(self, begins: bool) -> None:
        """Decide how held-out text is measured, and say what the user must know about the time that it takes."""
        if self.clock.limit is None:
            say_all(self.watcher, validation_warnings(self.corpus, self.recipe))
            return
        saved = sum(tensor.numel() * tensor.element_size() for tensor in self.model.weights().values())
        say_all(self.watcher, plan_measuring(self.clock, self.validator, self.counters, begins=begins, saved=saved))

    def _epoch(self, stop: StopRequest) -> None:
        self.model.train()
        batches = self.source.batches(self.counters.epoch, self.counters.index)
        for batch in batches:
            if self.clock.is_up:
                break
            self._step(batch)
            self.clock.lap()
            self._tell()
            if stop.requested:
                self._stop()
            if now() - self._saved > self.recipe.training.checkpoint_seconds:
                self.save()

    def _step(self, batch: Batch) -> None:
        counters = self.counters
        if self.state is None or not batch.carried:
            self.state = self.model.initial_state(batch.columns)
        if batch.restarted is not None:
            self.state = restart(self.state, batch.restarted)
        set_rate(self.optimizer, self._rate() * batch.rate)
        if self.captured is None:
            self.state = self._plain_step(batch, self.state)
        else:
            self.state = self.captured.step(batch, self.state)
            self._uncounted_steps += 1
        counters.step += 1
        counters.index += 1
        counters.window_sentences += batch.sentences
        self._add_to_average()

    def _plain_step(self, batch: Batch, state: LayerStates) -> LayerStates:
        batch = batch.to(self.model.device)
        try:
            result, state = train_step(self.model, self.optimizer, batch, state, self.recipe.training, self.precision)
        except DivergedError as error:
            raise self._diverged(str(error), self.counters.step + 1) from error
        self._count(result.nats, result.tokens)
        return state

    def _add_to_average(self) -> None:
        options, average, counters = self.recipe.average, self.average, self.counters
        if average is None or options.kind == "none":
            return
        if average.count:
            due = counters.step % options.every == 0
        else:
            due = average_begins(options, share=self.share, validations=counters.validations)
        if due:
            average.add()

    def _collect(self) -> None:
        """Count what captured steps left on the device since the last time. Raises DivergedError."""
        if self.captured is None:
            return
        nats, tokens, good_steps, loss = self.captured.tally.take().tolist()
        if good_steps < self._uncounted_steps:
            first_bad = self.counters.step - self._uncounted_steps + int(good_steps) + 1
            raise self._diverged(f"the loss is {loss}", first_bad)
        self._uncounted_steps = 0
        self._count(nats, int(tokens))

    def _count(self, nats: float, tokens: int) -> None:
        counters = self.counters
        counters.tokens += tokens
        counters.epoch_nats += nats
        counters.epoch_tokens += tokens
        counters.window_nats += nats
        counters.window_tokens += tokens

    def _diverged(self, what: str, step: int) -> DivergedError:
        return DivergedError(
            f"{what} at step {step:,}; the last good checkpoint in {self.folder.path} is untouched\n"
            "train anew with a lower optimizer.learning_rate or a smaller training.clip_norm"
        )

    def _rate(self) -> float:
        counters = self.counters
        factor = rate_factor(
            self.recipe.schedule, share=self.share, epoch=self._epochs_gone(), reductions=counters.reductions
        )
        return self.recipe.optimizer.learning_rate * factor

    def _epochs_gone(self) -> int:
        """Whole epochs done, or by the time that has gone where a time limit will end the run before its epochs."""
        training = self.recipe.training
        by_time = 0.0 if training.until == "time" else self.clock.share
        return max(self.counters.epoch, min(int(by_time * training.epochs), training.epochs - 1))

    def _tell(self) -> None:
        counters = self.counters
        logged = counters.step % self.recipe.training.log_every == 0
        if logged:
            self._collect()
        entry = self._entry("step")
        if logged:
            self.journal.write(entry)
            self.watcher.step(entry)
            self._new_window()
        self.watcher.tick(self.share, _live(entry, self.recipe.training))

    def _entry(self, event: str) -> dict[str, Any]:
        counters = self.counters
        share = self.share
        return {
            "event": event,
            "step": counters.step,
            "epoch": counters.epoch + 1,
            "tokens": counters.tokens,
            "seconds": round(counters.seconds, 3),
            "share": share,
            "loss": counters.window_nats / max(counters.window_tokens, 1),
            "perplexity": _perplexity(counters.epoch_nats, counters.epoch_tokens),
            "lr": self._rate(),
            "tokens_per_second": _per_second(counters.window_tokens, counters.window_seconds),
            "sentences_per_second": _per_second(counters.window_sentences, counters.window_seconds),
            "seconds_left": self._seconds_left(share),
            **({} if sample_size(self.model.decoder) is None else {"estimated": True}),
        }

    def _seconds_left(self, share: float) -> float | None:
        if self.clock.left is not None:
            return max(self.clock.left, 0.0)
        return self.counters.seconds * (1 - share) / share if share else None

    def _new_window(self) -> None:
        counters = self.counters
        counters.window_nats, counters.window_seconds = 0.0, 0.0
        counters.window_tokens, counters.window_sentences = 0, 0

    def _is_validated(self) -> bool:
        """Whether this epoch is: each so many-th for which there is time, and the run's last."""
        epoch = self.counters.epoch + 1
        due = epoch % self.recipe.validation.every == 0 and self.clock.validation_is_due
        return due or self._is_last(epoch)

    def _is_last(self, epoch: int) -> bool:
        training = self.recipe.training
        return self.clock.is_up or (training.until == "epochs" and epoch >= training.epochs)

    def _validate(self, stop: StopRequest) -> None:
        """Measure, keep the model if it is the best, close the epoch."""
        counters, began = self.counters, self.counters.seconds
        self.save()
        self.clock.lap()
        saving = counters.seconds - began
        with nullcontext() if self.average is None else self.average.in_model():
            self._judge(stop)
        self._foresee_the_end()
        self.clock.lap()
        seconds = counters.seconds - began + saving  # it is saved once more below
        counters.longest_validation = max(counters.longest_validation, seconds)
        counters.validation_seconds += seconds
        counters.validated_at = counters.seconds
        self._close_epoch()
        self._decide_the_end()
        self.save()

    def _foresee_the_end(self) -> None:
        """Renew the estimate of the time that the measuring at the end takes; validations time themselves."""
        if self.clock.limit is None:
            return
        if self.counters.exact:
            self.validator.time(exact=True)
        self.clock.evaluation = max(self.clock.evaluation, self.validator.estimate(exact=self.counters.exact))

    def _decide_the_end(self) -> None:
        counters = self.counters
        if counters.finished and counters.exact and not self.clock.evaluation_fits:
            counters.exact = False
            self.watcher.say("the exact evaluation no longer fits into the time limit: the end measures as validation")

    def _judge(self, stop: StopRequest) -> None:
        result = self._measure(self.recipe.validation.split, stop, "validating")
        counters = self.counters
        better = counters.best_nats is None or result.nats < counters.best_nats
        counters.waited = 0 if better else counters.waited + 1
        counters.validations_without_gain = 0 if better else counters.validations_without_gain + 1
        counters.validations.append(result.nats)
        if better:
            counters.best_nats = result.nats
        if better or self.recipe.validation.keep == "last":
            self.folder.save_model(tensor_bytes(self.model.weights()))
        self.clock.lap()
        entry = self._entry("epoch") | {"valid_perplexity": result.value, "signature": result.signature}
        entry["loss"] = counters.epoch_nats / max(counters.epoch_tokens, 1)
        if self.average is not None:
            entry["averaged"] = self.average.count
        self.journal.write(entry)
        self.watcher.say(
            f"epoch {entry['epoch']}: training {perplexity_name(entry)} {entry['perplexity']:.2f}, "
            f"{self.recipe.validation.split} {result.value:.2f}  [{result.signature}]"
        )
        self.watcher.say(f"  it writes: {self._specimen()}")
        if self.after_validation is not None:
            self.after_validation(entry["epoch"], result)

    def _specimen(self) -> str:
        """The start of a sample, so that one sees the model learn."""
        banned = self.corpus.codec.vocabulary.placeholders
        options = SamplingOptions(temperature=SPECIMEN_TEMPERATURE, banned=banned)
        drawn = itertools.islice(sample(self.model, [], options), SPECIMEN_TOKENS[self.recipe.text.unit])
        text = self.corpus.codec.decode(int(ids[0]) for ids in drawn)
        return " / ".join(line for line in text.split("\n") if line)

    def _close_epoch(self) -> None:
        self._collect()
        counters, training = self.counters, self.recipe.training
        schedule = self.recipe.schedule
        if schedule.kind == "plateau" and counters.waited > schedule.patience:
            counters.reductions += 1
            counters.waited = 0
        counters.epoch += 1
        counters.index, counters.epoch_nats, counters.epoch_tokens = 0, 0.0, 0
        self._new_window()
        self.state = None
        tired = training.patience is not None and counters.validations_without_gain >= training.patience
        counters.finished = tired or self._is_last(counters.epoch)

    def _measure(self, split: str, stop: StopRequest, doing: str, *, exact: bool = False) -> Perplexity:
        def done(part: float) -> None:
            self.watcher.tick(self.share, f"{doing} {part:.0%}")
            if stop.requested:
                self._stop(save=False)

        return self.validator.measure(split, exact=exact, done=done)

    def _finish(self, stop: StopRequest) -> Result:
        """Measure the model that was kept, on every held-out text."""
        self.model.load_weights(tensors(self.folder.read("model.safetensors"), self.folder.path))
        counters, exact = self.counters, self.counters.exact
        measured = {
            split: self._measure(split, stop, f"final evaluation of {split}", exact=exact)
            for split in self.validator.held_out
        }
        self.clock.lap()
        result = Result(
            str(self.folder.path),
            counters.epoch,
            counters.step,
            counters.seconds,
            measured.get("valid") or measured["test"],
            measured.get("test"),
        )
        result.advice = advice(result.valid, counters, self.validator, self.recipe.training.epochs, self.clock.limit)
        self.journal.write({"event": "final", "step": counters.step} | result.to_json())
        self.folder.seal([METRICS_FILE])
        return result

    def _stop(self, *, save: bool = True) -> None:
        if save:
            self.save()
        raise StoppedError(
            f"stopped at step {self.counters.step:,}; go on with the same command and --resume "
            f"(checkpoint in {self.folder.path})"
        )

    def save(self) -> None:
        """Write a checkpoint. Raises DivergedError rather than save weights that are not finite."""
        self._collect()
        weights = self.model.weights()
        if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise DivergedError(
                f"weights are no longer finite after step {self.counters.step:,}; the last good checkpoint in "
                f"{self.folder.path} is untouched\ntrain anew with a lower optimizer.learning_rate"
            )
        files = {
            "weights.safetensors": tensor_bytes(weights),
            "optimizer.safetensors": tensor_bytes(optimizer_tensors(self.optimizer)),
            "state.safetensors": tensor_bytes(_state_tensors(self.state) | _random_state(self.model.device)),
            "counters.json": self.counters.to_json(),
        }
        if self.average is not None:
            files["average.safetensors"] = tensor_bytes(self.average.tensors())
        self.folder.checkpoints.save(self.counters.step, files)
        self._saved = now()

    def _resume(self) -> bool:
        """Go on from the newest checkpoint; returns whether there is one."""
        self.folder.discard_unfinished()
        files = self.folder.checkpoints.latest(self.watcher.warn)
        if files is None:
            return False
        try:
            self._restore(files)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"{self.folder.path}: its newest checkpoint does not fit config.json: {error}; begin again in another "
                "folder"
            ) from error
        self.watcher.say(f"going on after step {self.counters.step:,}")
        return True

    def _restore(self, files: dict[str, bytes]) -> None:
        """Take over a checkpoint's files. Raises RuntimeError or KeyError where they belong to another model."""
        place = self.folder.path
        self.counters = Counters.from_json(files["counters.json"])
        self.model.load_weights(tensors(files["weights.safetensors"], place))
        restore_optimizer(self.optimizer, tensors(files["optimizer.safetensors"], place))
        if self.average is not None:
            self.average.restore(tensors(files["average.safetensors"], place))
        saved = tensors(files["state.safetensors"], place)
        self.state = _state_from_tensors(saved, self.model, place)
        _restore_random_state(saved, place)


def _state_tensors(state: LayerStates | None) -> dict[str, Tensor]:
    if state is None:
        return {}
    return {f"layer.{i}.{j}": tensor for i, layer in enumerate(state) for j, tensor in enumerate(layer)}


def _state_from_tensors(saved: Mapping[str, Tensor], model: LanguageModel, place: Path) -> LayerStates | None:
    """The carried state, or None where there was none. Raises CorruptFileError where it belongs to another model."""
    layers = {name: tensor for name, tensor in saved.items() if name.startswith("layer.")}
    if not layers:
        return None
    columns = max((len(tensor) for tensor in layers.values() if tensor.dim()), default=0)
    expected = _state_tensors(model.initial_state(columns))
    if _float_shapes(layers) != _float_shapes(expected):
        raise CorruptFileError(f"{place}: checkpoint: the state that was carried is another model's")
    return tuple(
        tuple(layers[f"layer.{i}.{j}"].to(model.device) for j in range(cell.carried))
        for i, cell in enumerate(model.stack.cells)
    )


def _float_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[bool, torch.Size]]:
    return {name: (tensor.is_floating_point(), tensor.shape) for name, tensor in tensors.items()}


def _random_state(device: torch.device) -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_random_state(saved: Mapping[str, Tensor], place: Path) -> None:
    try:
        torch.set_rng_state(saved["random.cpu"])
        if "random.cuda" in saved:
            torch.cuda.set_rng_state(saved["random.cuda"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise CorruptFileError(f"{place}: checkpoint: its random state cannot be used: {error}") from error


def _per_second(count: int, seconds: float) -> float | None:
    """None where nothing was counted since the last log line."""
    return count / seconds if count and seconds > 0 else None


def _perplexity(nats: float, tokens: int) -> float:
    return math.exp(min(nats / max(tokens, 1), 700.0))


def _live(entry: dict[str, Any], training: Training) -> str:
    of = f"/{training.epochs}" if training.until == "epochs" else ""
    return (
        f"epoch {entry['epoch']}{of}  {perplexity_name(entry)} {entry['perplexity']:.1f}  loss {entry['loss']:.3f}  "
        f"lr {entry['lr']:.2g}  {entry['tokens_per_second'] or 0:,.0f} tok/s  "
        f"{entry['sentences_per_second'] or 0:,.0f} sent/s  left {clock(entry['seconds_left'])}"
    )
