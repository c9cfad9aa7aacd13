"""Each fast path on a CPU beside its plain twin and the library's way, at the sizes of the seed document's job."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._measure import Spread
from benchmarks._report import Options, Result, Row, run
from recurlm.config import ModelOptions
from recurlm.devices import keep_freed_memory, runs
from recurlm.kernels import linear_cross_entropy as loss_module
from recurlm.kernels.embedding import add_row_gradients, looked_up
from recurlm.kernels.linear import draw_native, draw_plain
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference
from recurlm.kernels.lstm_sweep import lstm_tiles
from recurlm.kernels.native import has_bfloat16_tiles, has_tiles, native_library
from recurlm.kernels.recurrent_sweep import step_by_step
from recurlm.kernels.softmax_loss import softmax_loss_native, softmax_loss_plain
from recurlm.models.language_model import LanguageModel
from recurlm.models.lstm_cells import LSTMCell
from recurlm.models.stepping import PlainStepper, TileStepper

Work = Callable[[], object]
STEPS, BATCH, POSITIONS, SIZE, WORDS, STREAMS = 32, 50, 1120, 256, 10_000, 64


def measure(options: Options) -> Result:
    """Milliseconds of one call, in turn; the ratio says how many times quicker the first contestant is."""
    keep_freed_memory()
    torch.manual_seed(1)
    repeats = options.pick(30, 5, 1)
    jobs = {"one LSTM layer, forward and backward": _lstm(), "softmax loss and gradients": _loss()}
    jobs |= {"gradient of an embedding, tied": _embedding(), "softmax, element-wise part, float32": _softmax()}
    jobs |= {f"one step of {count} stream{'s' * (count > 1)}": _step(count) for count in (1, STREAMS)}
    jobs |= {f"a draw for {STREAMS} streams": _draw()}
    rows = [row for job, works in jobs.items() if works for row in _rows(job, works, repeats)]
    missing = "" if has_bfloat16_tiles() else "; no bfloat16 products in hardware here"
    return Result("fast paths", f"cpu, median of {repeats} calls in turn{missing}", rows)


def _rows(job: str, works: Mapping[str, Work], repeats: int) -> list[Row]:
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(3 + repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number >= 3:
                times[name].append(1000 * (time.perf_counter() - start))
    fast, *others = works
    rows = [Row(job, name, Spread.of(values), "ms") for name, values in times.items()]
    for other in others:
        # a call is too short for ratios round by round
        ratio = Spread.of([statistics.median(times[other]) / statistics.median(times[fast])])
        rows.append(Row(job, fast, Spread.of(times[fast]), "ms", other, ratio))
    return rows


def _lstm() -> dict[str, Work]:
    cell = LSTMCell(SIZE, SIZE)
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.1, 0.1)
    sequence = torch.randn(STEPS, BATCH, SIZE).requires_grad_()
    state = cell.initial_state(BATCH)
    stacked = [part[None] for part in state]

    def sweep(function: Callable[[], Tensor]) -> Work:
        def work() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                output = function()
            output.backward(torch.ones_like(output))

        return work

    works = {"equations step by step, bf16": sweep(lambda: step_by_step(cell, sequence, state)[0])}
    if runs("lstm bf16"):
        library = sweep(lambda: torch.lstm(sequence, stacked, cell.weights, True, 1, 0.0, True, False, False)[0])
        works = {"torch.lstm (oneDNN), bf16": library} | works
    tiles = {"tiles": sweep(lambda: lstm_tiles(cell.weights, sequence, state)[0])}
    return tiles | works if has_bfloat16_tiles() else works


def _loss() -> dict[str, Work]:
    input = torch.randn(POSITIONS, SIZE).requires_grad_()
    weight = (torch.randn(WORDS, SIZE) / 10).requires_grad_()
    bias = torch.zeros(WORDS, requires_grad=True)
    target = torch.randint(WORDS, (POSITIONS,))

    def loss(function: Callable[..., tuple[Tensor, Tensor]]) -> Work:
        def work() -> None:
            input.grad = weight.grad = bias.grad = None
            with torch.autocast("cpu", torch.bfloat16):
                total, _ = function(input, weight, bias, target)
            total.backward()

        return work

    def chunked(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        return loss_module._ChunkedLoss.apply(*arguments, -100, torch.bfloat16, True)

    works = {"chunks, bf16": loss(chunked), "linear, cross_entropy, bf16": loss(linear_cross_entropy_reference)}
    return {"tiles": loss(linear_cross_entropy)} | works if has_bfloat16_tiles() else works


def _embedding() -> dict[str, Work]:
    weight = torch.nn.Parameter(torch.randn(WORDS, SIZE))
    ids = torch.randint(WORDS, (STEPS, BATCH))
    gradient = torch.randn(STEPS, BATCH, SIZE)
    decoder = torch.zeros(WORDS, SIZE)

    def rows() -> None:
        weight.grad = decoder
        found = looked_up(weight, ids)
        found.backward(gradient)
        add_row_gradients(weight, ids, found)

    def autograd() -> None:
        weight.grad = decoder
        F.embedding(ids, weight).backward(gradient)

    return {"rows added": rows, "autograd": autograd}


def _softmax() -> dict[str, Work]:
    logits = torch.randn(POSITIONS, WORDS)
    target = torch.randint(WORDS, (POSITIONS,))
    plain: dict[str, Work] = {"plain": lambda: softmax_loss_plain(logits, None, target, True)}
    if native_library() is None:
        return plain
    return {"native": lambda: softmax_loss_native(logits, None, target, True)} | plain


def _step(count: int) -> dict[str, Work]:
    model = LanguageModel(ModelOptions(), WORDS).eval()
    tokens = torch.randint(WORDS, (count,))

    def stepping(stepper: TileStepper | PlainStepper) -> Work:
        @torch.no_grad()
        def work() -> Tensor:
            return stepper.step(tokens)

        return work

    plain = {"equations, float32": stepping(PlainStepper(model, model.initial_state(count)))}
    if not has_tiles():
        return plain
    return {"packed tiles": stepping(TileStepper(model, model.initial_state(count)))} | plain


def _draw() -> dict[str, Work]:
    logits = torch.randn(STREAMS, WORDS)
    shares = torch.rand(STREAMS, dtype=torch.float64)
    plain: dict[str, Work] = {"torch": lambda: draw_plain(logits, 1.0, shares)}
    if not has_tiles():
        return plain
    return {"native": lambda: draw_native(logits.clone(), 1.0, shares)} | plain


def main() -> None:
    """Print and record it."""
    run("fast-paths", __doc__, measure)


if __name__ == "__main__":
    main()
