"""The limit: the matrix products of a training step and nothing else.

For each layer and the softmax there are three: forward, gradient of the input, gradient of the weights. The LSTM
multiplies padded positions, the softmax only those that have a target. The recurrent products of all time steps
count as one large product, which no program can do: the limit is meant to be out of reach.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks._job import Job
from recurlm.models.cell import RecurrentCell
from recurlm.models.cells import build_cells
from recurlm.text.batching import IGNORED, Batch


class Products:
    """Multiplies matrices of the right shapes; memory is allocated, and code for each shape built, beforehand."""

    def __init__(self, job: Job, precision: str, device: torch.device) -> None:
        self.job = job
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device = device
        self.operands: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}
        self.results: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}
        batches = job.batches()
        self.rows = max(batch.input.numel() for batch in batches)
        for batch in batches:
            self.train(batch)

    def train(self, batch: Batch) -> tuple[float, int]:
        """The products of one step; there is no loss."""
        for rows, inputs, outputs in shapes(self.job, batch):
            if (inputs, outputs) not in self.operands:
                self.operands[inputs, outputs] = self._made(inputs, outputs)
                self.results[inputs, outputs] = self._made(inputs, outputs)
            input_, error, weight = self.operands[inputs, outputs]
            grad_input, output, grad_weight = self.results[inputs, outputs]
            input_, error = input_[:rows], error[:rows]
            torch.mm(input_, weight.t(), out=output[:rows])
            torch.mm(error, weight, out=grad_input[:rows])
            torch.mm(error.t(), input_, out=grad_weight)
        return 0.0, targets(batch)

    def _made(self, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
        """A layer's input (rows, inputs), output (rows, outputs) and weight (outputs, inputs)."""
        shapes = ((self.rows, inputs), (self.rows, outputs), (outputs, inputs))
        made = [torch.randn(shape, device=self.device).to(self.dtype) for shape in shapes]
        return made[0], made[1], made[2]


def shapes(job: Job, batch: Batch) -> Iterator[tuple[int, int, int]]:
    """Rows, inputs and outputs of every layer."""
    options = job.recipe.model
    with torch.device("meta"):
        cells = build_cells(options)
    for cell in cells:
        rows, columns = cell.weight_ih.shape
        yield batch.input.numel(), columns + (cell.hidden_size if isinstance(cell, RecurrentCell) else 0), rows
        for name, parameter in cell.named_parameters():
            if parameter.dim() > 1 and name not in ("weight_ih", "weight_hh"):
                yield batch.input.numel(), parameter.shape[1], parameter.shape[0]
    yield targets(batch), options.hidden_sizes[-1], job.vocabulary_size


def operations(job: Job, batch: Batch) -> int:
    """Additions and multiplications of one step."""
    return sum(3 * 2 * rows * inputs * outputs for rows, inputs, outputs in shapes(job, batch))


def targets(batch: Batch) -> int:
    """Positions that the loss looks at."""
    return int((batch.target != IGNORED).sum())
