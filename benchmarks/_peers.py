"""The same network as one would write it with PyTorch's own layers: what recurlm is measured against."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._job import Job
from recurlm.config import SGD
from recurlm.text.batching import IGNORED, Batch
from recurlm.text.vocabulary import EOS_ID

States = list[tuple[Tensor, Tensor]]


class IdiomaticModel(nn.Module):
    """nn.Embedding, nn.LSTM (one for layers of equal size), nn.Linear; tokens (T, B) to logits (T, B, V)."""

    def __init__(self, vocabulary_size: int, embedding_size: int, hidden_sizes: Sequence[int], *, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.lstms = nn.ModuleList()
        size = embedding_size
        for hidden_size, layers in itertools.groupby(hidden_sizes):
            self.lstms.append(nn.LSTM(size, hidden_size, len(list(layers))))
            size = hidden_size
        self.decoder = nn.Linear(size, vocabulary_size)
        if tied:
            self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor, states: States | None) -> tuple[Tensor, States]:
        output = self.embedding(tokens)
        after = []
        for number, lstm in enumerate(self.lstms):
            output, state = lstm(output, None if states is None else states[number])
            after.append(state)
        return self.decoder(output), after

    @torch.no_grad()
    def copy_weights(self, weights: dict[str, Tensor]) -> None:
        """Take recurlm's weights by their names."""
        self.embedding.weight.copy_(weights["embedding.weight"])
        if self.decoder.weight is not self.embedding.weight:
            self.decoder.weight.copy_(weights["decoder.weight"])
        self.decoder.bias.copy_(weights["decoder.bias"])
        layers = ((lstm, layer) for lstm in self.lstms for layer in range(lstm.num_layers))
        for number, (lstm, layer) in enumerate(layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(lstm, f"{name}_l{layer}").copy_(weights[f"stack.layers.{number}.{name}"])


class Idiomatic:
    """The usual training loop, scoring loop and sampling loop around it."""

    def __init__(self, job: Job, precision: str, device: torch.device) -> None:
        self.job, self.device, self.bf16 = job, device, precision == "bf16"
        options = job.recipe.model
        self.model = IdiomaticModel(
            job.vocabulary_size, options.embedding_size, options.hidden_sizes, tied=options.tied
        )
        self.model.copy_weights(job.new_model().weights())
        self.model.to(device)
        sgd = job.recipe.optimizer
        assert isinstance(sgd, SGD)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=sgd.learning_rate, weight_decay=sgd.weight_decay)
        self.states: States | None = None

    def train(self, batch: Batch) -> tuple[float, int]:
        """One step; nats over the targets and their number."""
        training = self.job.recipe.training
        states = None
        if batch.carried and self.states is not None:
            states = [(hidden.detach(), cell.detach()) for hidden, cell in self.states]
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits, self.states = self.model(batch.input.to(self.device), states)
            total = F.cross_entropy(
                logits.flatten(0, 1), batch.target.to(self.device).flatten(), ignore_index=IGNORED, reduction="sum"
            )
        targets = int(batch.counted.sum())
        loss = total / (batch.columns if training.loss == "sequence" else targets)
        loss.backward()
        if training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        self.optimizer.step()
        return total.item(), targets

    @torch.no_grad()
    def score(self, lines: Sequence[str]) -> list[list[float]]:
        """Log-probability of every word and of the end, one sentence at a time."""
        vocabulary = self.job.codec.vocabulary
        unknown = vocabulary.unknown_id or EOS_ID
        scores: list[list[float]] = []
        for line in lines:
            ids = [EOS_ID, *(vocabulary.ids.get(word, unknown) for word in line.split()), EOS_ID]
            scores.append(self._logprobs(torch.tensor(ids, device=self.device)[:, None])[:, 0].tolist())
        return scores

    @torch.no_grad()
    def generate(self, count: int, tokens: int, seed: int) -> tuple[list[list[int]], None]:
        """`count` samples side by side; the loop does not need their log-probabilities."""
        torch.manual_seed(seed)
        last = torch.full((1, count), EOS_ID, device=self.device)
        states = None
        drawn = []
        for _ in range(tokens):
            logits, states = self.model(last, states)
            last = torch.multinomial(logits[-1].softmax(-1), 1).t()
            drawn.append(last[0])
        return torch.stack(drawn, 1).tolist(), None

    @torch.no_grad()
    def logprobs(self, ids: list[list[int]]) -> list[float]:
        """Log-probability of each row of ids after `<eos>`: what this model thinks of another's samples."""
        rows = torch.tensor([[EOS_ID, *row] for row in ids], device=self.device).t()
        summed: list[float] = self._logprobs(rows).double().sum(0).tolist()
        return summed

    def _logprobs(self, ids: Tensor) -> Tensor:
        """(T + 1, B) ids to (T, B) log-probabilities of all but the first."""
        logits, _ = self.model(ids[:-1], None)
        return logits.log_softmax(-1).gather(-1, ids[1:, :, None])[..., 0]
