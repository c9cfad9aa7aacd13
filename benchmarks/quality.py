"""A recipe's perplexity after a given time of training, in calls that resume one another."""

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._job import zipf_ids
from benchmarks._quality_plan import ADAPTATIONS, TRAINING, Plan
from benchmarks._quality_record import write_quality_record
from benchmarks._record import ROOT, circumstances
from recurlm import load
from recurlm.config import StreamBatches
from recurlm.errors import RecurlmError, StoppedError, UsageError
from recurlm.evaluation.adaptation import METHODS, TUNING_TOKENS
from recurlm.files import write_whole
from recurlm.progress import open_watcher
from recurlm.recipe_files import load_recipe
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

GRACE = 20.0
"""Seconds at the end of a call for the checkpoint and the record."""

Figures = dict[str, Any]


def advance(plan: Plan, stop: StopRequest) -> None:
    """Do what is still missing. Raises StoppedError where a stop was requested; what is done by then stays."""
    plan.claim()
    first = True
    for seed, part, measure in _parts(plan, stop):
        path = plan.figures(seed, part)
        if path.is_file():
            continue
        start = time.monotonic()
        try:
            figures = measure()
        except StoppedError as error:
            if part == TRAINING:
                forget_checkpoints(plan.run(seed), kept=1)
            elif first:
                raise RecurlmError(f"{part} does not fit into one call; give it more --call-seconds") from error
            raise
        content = {
            "circumstances": circumstances(),
            "call_seconds": round(time.monotonic() - start, 1),
            "figures": figures,
        }
        write_whole(path, json.dumps(content, indent=2).encode())
        if part == TRAINING:
            forget_checkpoints(plan.run(seed), kept=0)
        first = False


def _parts(plan: Plan, stop: StopRequest) -> Iterator[tuple[int, str, Callable[[], Figures]]]:
    for seed in plan.seeds:
        yield seed, TRAINING, partial(_train, plan, seed, stop)
        for method in plan.adaptations:
            yield seed, method, partial(_adapt, plan, seed, method, stop)


def _train(plan: Plan, seed: int, stop: StopRequest) -> Figures:
    request = TrainingRequest(
        text=str(_made_text(plan.folder)) if plan.tiny else None,
        recipe=plan.recipe,
        changes=("training.until=time", *(_toy_sizes(plan.recipe) if plan.tiny else ())),
        out=plan.run(seed),
        seed=seed,
        device=plan.device,
        resume=True,
        time_limit=f"{plan.seconds:g}s",
    )
    watcher = open_watcher()
    try:
        figures = prepare_training(request, watcher).fit(stop).to_json()
    finally:
        watcher.close()
    return {key: value for key, value in figures.items() if key != "run"}


def _adapt(plan: Plan, seed: int, method: str, stop: StopRequest) -> Figures:
    def tick(_: int) -> None:
        if stop.requested:
            raise StoppedError(f"stopped in {method}, which begins anew in the next call")

    adapted = load(plan.run(seed), device=plan.device).adapt(
        None,
        METHODS[method](),
        tune_on="valid",
        tuning_tokens=100 if plan.tiny else TUNING_TOKENS,
        tick=tick,
    )
    return adapted.to_json()


def forget_checkpoints(run: Path, *, kept: int) -> None:
    """Remove all but the newest checkpoints of a run, so that little has to be carried to the next call."""
    checkpoints = sorted(run.glob("checkpoints/step-*"))
    for checkpoint in checkpoints[: len(checkpoints) - kept]:
        shutil.rmtree(checkpoint)


def _toy_sizes(recipe: str) -> tuple[str, ...]:
    options = load_recipe(recipe)
    sizes = [16] * len(options.model.hidden_sizes)
    changes = ("model.embedding_size=16", f"model.hidden_sizes={sizes}", "batches.batch_size=4")
    return (*changes, "batches.bptt=8") if isinstance(options.batches, StreamBatches) else changes


def _made_text(folder: Path) -> Path:
    """Sentences of eight words by Zipf's law, the same ones in every call."""
    words = zipf_ids(50, 8 * 500, np.random.default_rng(1)).reshape(-1, 8)
    path = folder / "made.txt"
    write_whole(path, "".join(" ".join(f"w{word}" for word in line) + "\n" for line in words).encode())
    return path


def main() -> None:
    """Train and measure as far as this call goes. Exits with 75 where the same call is needed again."""
    plan, call_seconds, out = _parse()
    with StopRequest() as stop:
        if call_seconds is not None:
            alarm = threading.Timer(max(call_seconds - GRACE, 1.0), partial(setattr, stop, "requested", True))
            alarm.daemon = True
            alarm.start()
        try:
            advance(plan, stop)
            code = 0
        except StoppedError as error:
            size = sum(path.stat().st_size for path in plan.folder.rglob("*") if path.is_file())
            print(f"stopped; call again with the same arguments ({plan.folder} holds {size / 1e6:,.1f} MB, all needed)")
            code = error.exit_code
        except UsageError as error:  # what stands in the folder is no record of what is asked for
            print(f"quality: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except RecurlmError as error:
            print(f"quality: {error}", file=sys.stderr)
            code = error.exit_code
    record = write_quality_record(plan, out)
    if record is not None:
        print(record.read_text("utf-8"))
        print(record)
    sys.exit(code)


def _parse() -> tuple[Plan, float | None, Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--seconds", type=float, default=600.0, help="the whole training of one seed (600)")
    parser.add_argument("--seeds", default="1", metavar="N,N,…", help="trained one after the other (1)")
    parser.add_argument(
        "--adapt", default=",".join(ADAPTATIONS), metavar="METHOD,…", help="columns of adaptation; '' for none"
    )
    parser.add_argument("--call-seconds", type=float, help="stop in this time, so that another call goes on")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, only to see that it all runs")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="what calls leave to one another (runs/quality-…)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the record goes (records/…; tiny: in --runs)")
    arguments = parser.parse_args()
    name = f"quality-{Path(arguments.recipe).stem}"
    runs = arguments.runs or ROOT / "runs" / f"{name}{'-tiny' if arguments.tiny else ''}"
    records = runs / "record" if arguments.tiny else ROOT / "records" / f"{circumstances()['date']}-{name}"
    plan = Plan(
        arguments.recipe,
        arguments.seconds,
        tuple(int(seed) for seed in arguments.seeds.split(",")),
        runs,
        tuple(filter(None, arguments.adapt.split(","))),
        arguments.device,
        arguments.tiny,
    )
    return plan, arguments.call_seconds, arguments.out or records


if __name__ == "__main__":
    main()
