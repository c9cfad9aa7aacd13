"""recurlm as its users reach it: the training step of its loop, and its Python interface."""

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks._job import Job
from recurlm.devices import keep_freed_memory, resolve_precision
from recurlm.interface.model import Model
from recurlm.models.state import LayerStates
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import Hypothesis, group
from recurlm.scoring.scorer import ScoringOptions
from recurlm.text.batching import IGNORED, Batch
from recurlm.text.vocabulary import EOS_ID
from recurlm.training.captured import open_captured_steps
from recurlm.training.optimizers import build_optimizer
from recurlm.training.step import Learner, train_step


class Recurlm:
    """Trains, scores and generates."""

    gives_logprobs = False

    def __init__(self, job: Job, precision: str, device: torch.device) -> None:
        keep_freed_memory()
        self.job, self.device = job, device
        self.precision = resolve_precision(precision, device)
        self.network = job.new_model().to(device)
        optimizer = build_optimizer(job.recipe.optimizer, self.network)
        self.learner = Learner(self.network, optimizer, job.recipe.training, self.precision)
        self.captured = open_captured_steps(self.learner, lambda text: print(text, file=sys.stderr))
        self.state: LayerStates | None = None

    def train(self, batch: Batch) -> tuple[float | Tensor, int | Tensor]:
        """One step as the loop takes it; nats over the tokens counted and their number, on a GPU still to come."""
        self.network.train()
        if self.state is None or not batch.carried:
            self.state = self.network.initial_state(batch.columns)
        if self.captured is not None:
            self.state = self.captured.step(batch, self.state)
            nats, tokens, _, _ = self.captured.tally.take()
            return nats, tokens
        result, self.state = train_step(self.learner, batch, self.state)
        return result.nats, result.tokens

    def score(self, lines: Sequence[str]) -> list[list[float]]:
        """Log-probability of every word and of the end."""
        return [
            list(line.logprobs) for line in self._model().score(lines, options=ScoringOptions(precision=self.precision))
        ]

    def rescore(self, lists: Sequence[Sequence[str]]) -> list[float]:
        """Log-probability of every hypothesis, through the trie of its list and of others."""
        hypotheses = [
            Hypothesis(str(name), number, line)
            for name, each in enumerate(lists)
            for number, line in enumerate(each, 1)
        ]
        rescored = self._model().rescore(group(hypotheses), Combination(weight=1.0))
        return [scored.logprob for each in rescored for scored in each.scored]

    def generate(self, count: int, tokens: int, seed: int) -> tuple[list[list[int]], list[float | None]]:
        """`count` samples at once and, where the program gives them, their log-probabilities."""
        model = self._model()
        samples = model.generate_many(count=count, tokens=tokens, seed=seed, logprobs=self.gives_logprobs)
        ids = model.codec.vocabulary.ids
        return [[ids[token] for token in sample.tokens] for sample in samples], [sample.logprob for sample in samples]

    def _model(self) -> Model:
        return Model(self.network, self.job.codec, self.job.recipe)


class RecurlmWithLogprobs(Recurlm):
    """Generates as `recurlm generate --json` does."""

    gives_logprobs = True


class EachAlone(Recurlm):
    """Rescores a hypothesis at a time, each read from its beginning."""

    def rescore(self, lists: Sequence[Sequence[str]]) -> list[float]:
        model = self._model()
        return [model.score([line])[0].logprob for each in lists for line in each]


class ListAtOnce(Recurlm):
    """Rescores a list at a time as a batch of lines, without shared prefixes."""

    def rescore(self, lists: Sequence[Sequence[str]]) -> list[float]:
        model = self._model()
        return [score.logprob for each in lists for score in model.score(each)]


class RecurlmOnPadding(Recurlm):
    """Padding trained as MXNet trains it, and only words counted: to compare losses with MXNet, not speed."""

    def train(self, batch: Batch) -> tuple[float | Tensor, int | Tensor]:
        target = torch.where(batch.target == IGNORED, EOS_ID, batch.target)
        return super().train(replace(batch, target=target, counted=target != EOS_ID))
