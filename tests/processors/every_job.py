"""Kernels, a short training, scoring and generation as this process computes them, each beside the plain reference.

`python every_job.py FOLDER` prints one JSON object: for each job its largest difference from the reference, relative
to the reference's size. Environment variables that choose instructions are read once a process, so that
`test_processors.py` starts one for every class of processor.
"""

import json
import random
import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

import recurlm
from recurlm.devices import bf16_is_fast, resolve_precision, runs
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference
from recurlm.kernels.native import has_tiles, native_instructions, native_status
from recurlm.kernels.recurrent_sweep import step_by_step
from recurlm.kernels.sampled_cross_entropy import Sample, sampled_cross_entropy, sampled_cross_entropy_reference
from recurlm.models import outputs
from recurlm.models.cell import Cell
from recurlm.models.cells import CELLS
from recurlm.models.stepping import open_stepper
from recurlm.progress import Silent
from recurlm.scoring.scorer import ScoringOptions
from recurlm.text.places import DataPlaces
from recurlm.text.vocabulary import EOS_ID
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

STEPS, BATCH, SIZE, WORDS = 9, 6, 40, 70
CHANGES = (
    "batches.batch_size=4",
    "batches.bptt=10",
    "model.embedding_size=24",
    "model.hidden_sizes=[40,24]",
    "optimizer.learning_rate=0.03",
    "training.epochs=4",
)
FRUITS = {"red": "cherry", "yellow": "lemon", "green": "lime", "blue": "plum"}
LINES = ["the red fruit is a cherry", "the blue fruit is a lime indeed indeed", "a", "is the the green plum"]


def distance(ours: Tensor, reference: Tensor) -> float:
    """Of the whole tensor, relative."""
    ours, reference = ours.detach().double(), reference.detach().double()
    return float((ours - reference).norm() / reference.norm())


def largest(ours: list[Tensor], reference: list[Tensor]) -> float:
    return max(distance(one, other) for one, other in zip(ours, reference, strict=True))


def in_precision(precision: str):
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape) / shape[-1] ** 0.5


def sweep_of(kind: str, precision: str, masked: float = 0.0) -> float:
    """Outputs, last state and gradients of a layer, in training and without gradient; `masked` drops some state."""
    torch.manual_seed(1)
    cell = CELLS[kind](SIZE, SIZE)
    for parameter in cell.parameters():
        parameter.data.copy_(drawn(*parameter.shape, SIZE).mean(-1) * 2)
    input, state = drawn(STEPS, BATCH, SIZE), cell.initial_state(BATCH)
    results = []
    for fast in (True, False):
        torch.manual_seed(1)
        with in_precision(precision if fast else "fp32"), dropping(cell, masked):
            output, last = cell.sweep(input, state) if fast else step_by_step(cell, input, state)
            with torch.no_grad():
                alone, _ = cell.sweep(input, state) if fast else step_by_step(cell, input, state)
        gradients = torch.autograd.grad(output.float().square().sum(), list(cell.parameters()))
        results.append([output, *last, alone, *gradients])
    return largest(*results)


def dropping(cell: Cell, rate: float):
    return cell.dropping(BATCH, recurrent_weights=0.0, state=rate) if rate else nullcontext()


def loss_of(precision: str) -> float:
    torch.manual_seed(2)
    layer = [drawn(50, SIZE), drawn(WORDS, SIZE), drawn(WORDS)]
    for tensor in layer:
        tensor.requires_grad_()
    target = torch.randint(WORDS, (50,))
    target[::5] = -100
    results = []
    for function in (linear_cross_entropy, linear_cross_entropy_reference):
        with in_precision(precision if function is linear_cross_entropy else "fp32"):
            total, losses = function(*layer, target)
        results.append([losses, *torch.autograd.grad(total, layer)])
    return largest(*results)


def sampled_loss_of(precision: str) -> float:
    torch.manual_seed(3)
    layer = [drawn(50, SIZE).requires_grad_(), drawn(WORDS, SIZE).requires_grad_(), drawn(WORDS).requires_grad_()]
    target, sample = torch.randint(WORDS, (50,)), Sample(torch.arange(0, WORDS, 3), torch.full((WORDS,), -1.1))
    results = []
    for function in (sampled_cross_entropy, sampled_cross_entropy_reference):
        with in_precision(precision if function is sampled_cross_entropy else "fp32"):
            total, losses = function(*layer, target, sample)
        results.append([losses, *torch.autograd.grad(total, layer)])
    return largest(*results)


@contextmanager
def reference_only(model: torch.nn.Module):
    """Every cell step by step from its equations, and the loss from all logits at once."""
    fast_loss, outputs.linear_cross_entropy = outputs.linear_cross_entropy, linear_cross_entropy_reference
    model.stack.fast = False
    try:
        yield
    finally:
        outputs.linear_cross_entropy = fast_loss
        model.stack.fast = True


def write_texts(folder: Path) -> str:
    chosen = random.Random(5)
    folder.mkdir()
    for name, count in (("train", 150), ("valid", 20), ("test", 20)):
        colours = [chosen.choice(sorted(FRUITS)) for _ in range(count)]
        lines = [f"the {colour} fruit is a {FRUITS[colour]}" + " indeed" * chosen.randrange(3) for colour in colours]
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return str(folder)


def trained(folder: Path, name: str, precision: str, *, by_reference: bool = False) -> float:
    """The validation perplexity after four epochs."""
    request = TrainingRequest(
        str(folder / "texts"),
        "default",
        changes=CHANGES,
        out=folder / name,
        precision=precision,
        places=DataPlaces(cache_directory=folder / "cache"),
    )
    trainer = prepare_training(request, Silent())
    if not by_reference:
        return trainer.fit(StopRequest()).valid.value
    with reference_only(trainer.run.model):
        return trainer.fit(StopRequest()).valid.value


def scored(model: recurlm.Model, precision: str) -> Tensor:
    scores = model.score(LINES, options=ScoringOptions(precision=precision))
    return torch.tensor([logprob for line in scores for logprob in line.logprobs])


def stepped(model: recurlm.Model) -> float:
    """Logits of the stepper that generation uses."""
    tokens = torch.tensor([EOS_ID, 1, 2])
    state = model.network.initial_state(3)
    stepper, ours, reference = open_stepper(model.network, state), [], []
    with torch.no_grad():
        for _ in range(5):
            ours.append(stepper.step(tokens).clone())
            logits, state = model.network.step(tokens, state)
            reference.append(logits)
            tokens = logits.argmax(-1)
    return largest(ours, reference)


def generated(model: recurlm.Model) -> float:
    """Log-probabilities of samples, which the reference scores."""
    samples = model.generate_many(count=4, tokens=12, seed=3)
    quick = model.generate_many(count=4, tokens=12, seed=3, logprobs=False)
    assert all(len(sample.tokens) == 12 for sample in [*samples, *quick])
    with reference_only(model.network), torch.no_grad():
        expected = []
        for sample in samples:
            ids = [EOS_ID, *(model.codec.vocabulary.ids[token] for token in sample.tokens)]
            logits, _ = model.network(torch.tensor(ids[:-1])[:, None], model.network.initial_state(1))
            logprobs = logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None, None])
            expected.append(logprobs.sum())
    return distance(torch.tensor([sample.logprob for sample in samples]), torch.stack(expected))


def main() -> None:
    """Do every job and print the differences."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    write_texts(folder / "texts")
    differences = {f"{kind} {precision}": sweep_of(kind, precision) for kind in CELLS for precision in ("fp32", "bf16")}
    for precision in ("fp32", "bf16"):
        differences[f"lstm with masked state {precision}"] = sweep_of("lstm", precision, 0.3)
        differences[f"loss {precision}"] = loss_of(precision)
        differences[f"sampled loss {precision}"] = sampled_loss_of(precision)
    reference = trained(folder, "reference", "fp32", by_reference=True)
    for precision in ("fp32", "bf16"):
        differences[f"training {precision}"] = abs(trained(folder, precision, precision) / reference - 1)
    model = recurlm.load(folder / "fp32")
    with reference_only(model.network):
        expected = scored(model, "fp32")
    for precision in ("fp32", "bf16"):
        differences[f"scoring {precision}"] = distance(scored(model, precision), expected)
    differences["generation fp32"] = generated(model)
    differences["steps bf16" if has_tiles() else "steps fp32"] = stepped(model)
    report = {
        "differences": differences,
        "reference_perplexity": reference,
        "library": native_instructions() or native_status(),
        "bf16_is_fast": bf16_is_fast(),
        "onednn_bf16_lstm": runs("lstm bf16"),
        "auto": resolve_precision("auto", torch.device("cpu")),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
