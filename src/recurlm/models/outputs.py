"""Output layers: from the last hidden state to a distribution over all V tokens, and its loss.

Each layer is called on hidden states (..., H) and returns scores (..., V) whose softmax is the distribution: logits or
log-probabilities. Evaluation uses `losses`, which needs only the probabilities of the targets. Training uses
`training_losses`, which some layers estimate from a sample.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recurlm.config import AdaptiveOutput, MixtureOutput, ModelOptions, SampledOutput
from recurlm.errors import InputError
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy
from recurlm.kernels.sampled_cross_entropy import Sample, draw_columns, inclusion_probabilities, sampled_cross_entropy
from recurlm.models.dropout import SequenceDropout
from recurlm.text.batching import IGNORED

MIXTURE_CHUNK_BYTES = 64 << 20
"""Most bytes of logits, of all experts together, in memory at once."""


class OutputLayer(Protocol):
    """A distribution over the next token."""

    def __call__(self, hidden: Tensor) -> Tensor:
        """Scores (..., V) of hidden states (..., H); their softmax is the distribution. Without dropout."""

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """ln p of every token (..., V), in float32."""

    def losses(self, hidden: Tensor, target: Tensor, *, skip_ignored: bool = True) -> tuple[Tensor, Tensor]:
        """-ln p of targets (...) after hidden states (..., H), in training (T, B, H); dropout follows the mode.

        Returns their sum, differentiable, and each of them (...), not differentiable, zero where the target is
        ignored. With `skip_ignored`, ignored targets cost no work, but the host waits for the device to count them.
        """

    def training_losses(self, hidden: Tensor, target: Tensor, *, skip_ignored: bool = True) -> tuple[Tensor, Tensor]:
        """As `losses`, or a cheaper estimate of them."""


class Softmax(nn.Linear):
    """Logits W h + b."""

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self(hidden)
        return logits.float().log_softmax(-1)

    def losses(self, hidden: Tensor, target: Tensor, *, skip_ignored: bool = True) -> tuple[Tensor, Tensor]:
        total, losses = linear_cross_entropy(
            hidden.flatten(0, -2), self.weight, self.bias, target.flatten(), skip_ignored=skip_ignored
        )
        return total, losses.view(target.shape)

    training_losses = losses


class SampledSoftmax(Softmax):
    """The softmax, learned from a sample of the tokens at each step that always holds the frequent ones.

    Evaluation uses the full softmax. Ids should be sorted by falling frequency.
    """

    cumulated_inclusion: Tensor
    log_inclusion: Tensor

    def __init__(self, options: ModelOptions, kind: SampledOutput, vocabulary_size: int) -> None:
        super().__init__(options.hidden_sizes[-1], vocabulary_size, bias=options.decoder_bias)
        self.sample_size = min(kind.tokens, vocabulary_size)
        inclusion = inclusion_probabilities(vocabulary_size, self.sample_size, kind.exponent)
        self.register_buffer("cumulated_inclusion", inclusion.cumsum(0), persistent=False)
        self.register_buffer("log_inclusion", inclusion.log().float(), persistent=False)

    def training_losses(self, hidden: Tensor, target: Tensor, *, skip_ignored: bool = True) -> tuple[Tensor, Tensor]:
        """Estimates from one sample for all positions, a new one for each call (`kernels/sampled_cross_entropy.py`)."""
        columns = draw_columns(self.cumulated_inclusion, self.sample_size)
        total, losses = sampled_cross_entropy(
            hidden.flatten(0, -2),
            self.weight,
            self.bias,
            target.flatten(),
            Sample(columns, self.log_inclusion),
            skip_ignored=skip_ignored,
        )
        return total, losses.view(target.shape)


class MixtureOfSoftmaxes(nn.Linear):
    """p = sum over k of pi_k softmax(W tanh(U_k h) + b), which is not limited to rank E (Yang et al. 2018).

    All K experts share W (V, E); pi = softmax(P h).
    """

    def __init__(self, options: ModelOptions, kind: MixtureOutput, vocabulary_size: int) -> None:
        super().__init__(options.embedding_size, vocabulary_size, bias=options.decoder_bias)
        hidden_size = options.hidden_sizes[-1]
        self.experts = kind.experts
        self.prior = nn.Linear(hidden_size, kind.experts, bias=False)
        self.latent = nn.Linear(hidden_size, kind.experts * options.embedding_size)
        self.latent_dropout = SequenceDropout(kind.dropout, locked=options.dropout.locked)

    def forward(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (..., V)."""
        prior, latent = self._experts(hidden, drop=False)
        each = F.linear(latent, self.weight, self.bias).float().log_softmax(-1)
        return (prior[..., None] + each).logsumexp(-2)

    log_probabilities = forward

    def losses(self, hidden: Tensor, target: Tensor, *, skip_ignored: bool = True) -> tuple[Tensor, Tensor]:
        """Ignored positions are always computed, so the host never waits for the device."""
        prior, latent = self._experts(hidden, drop=True)
        prior, latent = prior.flatten(0, -2), latent.flatten(0, -3)
        ids = target.flatten()
        rows = max(1, MIXTURE_CHUNK_BYTES // (self.experts * self.out_features * 4))
        parts = zip(*(torch.split(each, rows) for each in (prior, latent, ids.clamp(min=0))), strict=True)
        # the logits of each part are dropped and computed again for the gradient
        found = [
            checkpoint(self._mixture_losses, *part, use_reentrant=False, preserve_rng_state=False) for part in parts
        ]
        losses = torch.cat(found).masked_fill(ids == IGNORED, 0)
        return losses.sum(), losses.detach().view(target.shape)

    training_losses = losses

    def _experts(self, hidden: Tensor, *, drop: bool) -> tuple[Tensor, Tensor]:
        """Returns ln pi (..., K) and the hidden states of the experts (..., K, E)."""
        latent = self.latent(hidden).tanh()
        if drop:
            latent = self.latent_dropout(latent)
        return self.prior(hidden).float().log_softmax(-1), latent.unflatten(-1, (self.experts, self.in_features))

    def _mixture_losses(self, prior: Tensor, latent: Tensor, target: Tensor) -> Tensor:
        logits = F.linear(latent, self.weight, self.bias).float().flatten(0, 1)
        each = -F.cross_entropy(logits, target.repeat_interleave(self.experts), reduction="none")
        return -(prior + each.view(prior.shape)).logsumexp(-1)


class AdaptiveSoftmax(nn.Module):
    """Frequent tokens in a head, rarer tokens in clusters with smaller and smaller projections (Grave et al. 2017).

    The head gives p(w) of its own tokens; for the others p(w) = p(cluster) p(w | cluster). Ids must be sorted by
    falling frequency.
    """

    def __init__(self, options: ModelOptions, kind: AdaptiveOutput, vocabulary_size: int) -> None:
        super().__init__()
        if kind.cutoffs[-1] >= vocabulary_size:
            raise InputError(
                f"model.output.cutoffs end with {kind.cutoffs[-1]:,}, but the vocabulary has {vocabulary_size:,} "
                "tokens; give smaller cutoffs, or use the plain softmax, which is fast for so few tokens"
            )
        size, bias = options.hidden_sizes[-1], options.decoder_bias
        self.starts = kind.cutoffs
        self.ends = (*kind.cutoffs[1:], vocabulary_size)
        self.head = nn.Linear(size, kind.cutoffs[0] + len(kind.cutoffs), bias=bias)
        self.clusters = nn.ModuleList()
        for number, (start, end) in enumerate(zip(self.starts, self.ends, strict=True), 1):
            narrow = max(1, int(size / kind.divisor**number))
            self.clusters.append(
                nn.Sequential(nn.Linear(size, narrow, bias=False), nn.Linear(narrow, end - start, bias=bias))
            )

    def forward(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (..., V)."""
        head = self.head(hidden).float().log_softmax(-1)
        frequent, chosen = head.split((self.starts[0], len(self.starts)), dim=-1)
        rare = [
            chosen[..., number, None] + cluster(hidden).float().log_softmax(-1)
            for number, cluster in enumerate(self.clusters)
        ]
        return torch.cat([frequent, *rare], -1)

    log_probabilities = forward

    def losses(self, hidden: Tensor, target: Tensor, *, skip_ignored: bool = True) -> tuple[Tensor, Tensor]:
        """Computes only the clusters that hold a target; the host always waits for the device to say which."""
        positions = (target.flatten() != IGNORED).nonzero()[:, 0]
        hidden, ids = hidden.flatten(0, -2)[positions], target.flatten()[positions]
        cluster = torch.bucketize(ids, torch.tensor(self.starts, device=ids.device), right=True)
        entry = torch.where(cluster == 0, ids, self.starts[0] + cluster - 1)
        found = self._entry_losses(self.head(hidden), entry)
        for number, (start, layer) in enumerate(zip(self.starts, self.clusters, strict=True), 1):
            members = (cluster == number).nonzero()[:, 0]
            inside = self._entry_losses(layer(hidden[members]), ids[members] - start)
            found = found.index_add(0, members, inside)
        losses = found.new_zeros(target.numel()).index_copy(0, positions, found)
        return losses.sum(), losses.detach().view(target.shape)

    training_losses = losses

    @staticmethod
    def _entry_losses(logits: Tensor, entry: Tensor) -> Tensor:
        """-ln p of one entry (N,) in each row of logits (N, entries)."""
        return F.cross_entropy(logits.float(), entry, reduction="none")


def sample_size(output: nn.Module) -> int | None:
    """Number of tokens per step from which an output layer estimates its training losses; None where they are exact."""
    if isinstance(output, SampledSoftmax) and output.sample_size < output.out_features:
        return output.sample_size
    return None


def output_layer(options: ModelOptions, vocabulary_size: int) -> Softmax | MixtureOfSoftmaxes | AdaptiveSoftmax:
    """The output layer that the recipe asks for. Raises InputError where it does not fit the vocabulary."""
    match options.output:
        case SampledOutput():
            return SampledSoftmax(options, options.output, vocabulary_size)
        case MixtureOutput():
            return MixtureOfSoftmaxes(options, options.output, vocabulary_size)
        case AdaptiveOutput():
            return AdaptiveSoftmax(options, options.output, vocabulary_size)
        case _:
            return Softmax(options.hidden_sizes[-1], vocabulary_size, bias=options.decoder_bias)
