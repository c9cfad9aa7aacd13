"""One recipe with several seeds: trains the runs several at a time, and sums up how much the seed decides."""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recurlm.comparison.contenders import COMPARABLE_PROTOCOLS, open_contenders
from recurlm.comparison.mixing import mix
from recurlm.devices import resolve_device
from recurlm.errors import InputError, RecurlmError, StoppedError, UsageError
from recurlm.evaluation.perplexity import Perplexity, finite
from recurlm.files import check_output_folder
from recurlm.progress import Watcher
from recurlm.runs.folder import RunFolder
from recurlm.text.corpora import is_read_once
from recurlm.training.opening import check_named_text
from recurlm.training.request import TrainingRequest, default_folder, new_config
from recurlm.training.seed_worker import as_values
from recurlm.training.stopping import StopRequest
from recurlm.wording import counted
from recurlm.workers import Told, Workers

WORKER = "recurlm.training.seed_worker"
MOST_SEEDS = 1000
SPLITS = ("valid", "test")
ONWARD = "go on with the same command and --resume; finished seeds are kept"
AGAIN = "no run was begun; correct that and give the same command again"


def parse_seeds(text: str, largest: int) -> tuple[int, ...]:
    """The seeds of a list such as 1-5 or 1,3,7. Raises UsageError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
        if match is None:
            raise UsageError(f"--seeds {text}: write seeds as 1-5 or 1,3,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= largest or last - first >= MOST_SEEDS:
            raise UsageError(f"--seeds {text}: {_refused(part.strip(), first, last, largest)}")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: names a seed twice; name each once")
    return tuple(seeds)


def _refused(part: str, first: int, last: int, largest: int) -> str:
    """Why a range of seeds is refused."""
    if first > last:
        return f"{part} counts down; write the smaller seed first, such as {last}-{first}"
    if last > largest:
        return f"the largest seed is {largest:,}"
    return f"{part} are {last - first + 1:,} seeds; {MOST_SEEDS:,} at most"


@dataclass(frozen=True)
class Spread:
    """How one held-out text went over the seeds.

    mean, deviation: of the perplexities; the deviation is that of a sample (n - 1), None for one seed · ensemble: the
    perplexity of the mean of the models' probabilities; None where the protocol does not count every token.
    """

    mean: float
    deviation: float | None
    ensemble: Perplexity | None

    def to_json(self) -> dict[str, Any]:
        """The object that `train --seeds --json` prints for a text."""
        ensemble = self.ensemble
        return {
            "mean": finite(self.mean),
            "deviation": finite(self.deviation),
            "ensemble": None if ensemble is None else finite(ensemble.value),
            "ensemble_signature": None if ensemble is None else ensemble.signature,
        }


@dataclass
class Seeds:
    """The results of the seeds that were trained to their end, in the order of the seeds, and their spread.

    results: for each seed the object that `train --json` prints · failures: for each other seed what went wrong, with
    its exit code.
    """

    out: Path
    results: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    failures: dict[int, tuple[str, int]] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that `train --seeds --json` prints last."""
        return {
            "out": str(self.out),
            "seeds": [{"seed": seed, **result} for seed, result in self.results.items()],
            "failed": sorted(self.failures),
            **{split: self.spreads[split].to_json() if split in self.spreads else None for split in SPLITS},
        }

    def table(self) -> str:
        """A row for each seed, then mean, deviation and ensemble; below, what was counted."""
        splits = [split for split in SPLITS if split in self.spreads]
        rows = [["seed", *splits, "epochs"]]
        for seed, result in self.results.items():
            rows.append(
                [str(seed), *(_shown(result[f"{split}_perplexity"]) for split in splits), str(result["epochs"])]
            )
        spreads = [self.spreads[split] for split in splits]
        rows.append(["mean", *(_shown(each.mean) for each in spreads), ""])
        rows.append(["deviation", *(_shown(each.deviation) for each in spreads), ""])
        rows.append(
            ["ensemble", *(_shown(None if each.ensemble is None else each.ensemble.value) for each in spreads), ""]
        )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *self._signatures(splits)])

    def _signatures(self, splits: Sequence[str]) -> list[str]:
        first = next(iter(self.results.values()))
        single = {"valid": first["valid_signature"], "test": first["signature"]}
        lines = [f"{split}  [{single[split]}]" for split in splits]
        ensembles = {split: self.spreads[split].ensemble for split in splits}
        return lines + [f"{split} ensemble  [{each.signature}]" for split, each in ensembles.items() if each]

    def raise_failure(self) -> None:
        """Raises an error with the exit code of the first seed that failed, if there is one."""
        if not self.failures:
            return
        seeds = ", ".join(map(str, sorted(self.failures)))
        stopped = all(code == StoppedError.exit_code for _, code in self.failures.values())
        if stopped:
            raise StoppedError(f"stopped at seeds {seeds}; go on with the same command and --resume")
        every = (*self.results, *self.failures)
        alike = len({text for text, _ in self.failures.values()}) < len(self.failures)
        begun = any(RunFolder(self.out / f"seed-{seed}").holds_run() for seed in every)
        error = RecurlmError(
            f"not trained to their end: seeds {seeds}, of {counted(len(every), 'seed')}"
            f"{'; an error of several seeds is told once' if alike else ''}\n{ONWARD if begun else AGAIN}"
        )
        error.exit_code = next(code for _, code in self.failures.values() if code != StoppedError.exit_code)
        raise error


def _shown(perplexity: float | None) -> str:
    return "" if perplexity is None else f"{perplexity:.2f}"


def train_seeds(request: TrainingRequest, seeds: Sequence[int], processes: int, watcher: Watcher) -> Seeds:
    """Trains a run for each seed in a folder of its own, `processes` at a time, and measures their spread.

    A signal stops every run with a checkpoint. A seed that fails is told to the watcher and collected; the others go
    on. Raises UsageError or InputError, before anything is written, for a request that cannot be met.
    """
    config = new_config(replace(request, resume=False, seed=seeds[0]))
    out = request.out or Path(f"{default_folder(config, request.text)}-seeds")
    requests = {seed: replace(request, seed=seed, out=out / f"seed-{seed}") for seed in seeds}
    folders = [RunFolder(out / f"seed-{seed}") for seed in seeds]
    _check(request, folders)
    check_output_folder(out)
    if not all(folder.holds_run() for folder in folders):
        check_named_text(request, config)
    found = Seeds(out)
    with StopRequest() as stop, Workers(WORKER, min(processes, len(seeds))) as workers:
        course = _Course(seeds, watcher)

        def look() -> None:
            if stop.requested:
                course.stopped = True
                workers.stop()

        for told in workers.answers([as_values(each) for each in requests.values()], look):
            course.hear(told)
        course.settle(found)
    if found.results:
        watcher.tick(None, "measuring the ensemble")
        found.spreads = _spreads(found, request, config.recipe.validation.protocol)
    return found


def _check(request: TrainingRequest, folders: Sequence[RunFolder]) -> None:
    """Raises UsageError or InputError for seeds that cannot be trained in these folders."""
    if isinstance(request.text, str) and is_read_once(request.text):
        raise UsageError("each seed reads the text; write what comes through the pipe into a file")
    begun = [folder for folder in folders if folder.holds_run()]
    if begun and not request.resume:
        raise InputError(
            f"{begun[0].path} already holds a run; add --resume to go on, or name another folder with --out"
        )
    is_bare = request.text is None and request.recipe is None and request.start is None
    if request.resume and is_bare and (request.out is not None) and len(begun) < len(folders):
        missing = next(folder for folder in folders if folder not in begun)
        raise UsageError(
            f"{missing.path} holds no run yet; give the whole command, with its text and recipe, and --resume"
        )


class _Course:
    """Collects what the workers tell about each seed, and shows it with the seed's number."""

    def __init__(self, seeds: Sequence[int], watcher: Watcher) -> None:
        self.seeds, self.watcher = seeds, watcher
        self.results: dict[int, Mapping[str, Any]] = {}
        self.failures: dict[int, tuple[str, int]] = {}
        self.live: dict[int, tuple[float, str]] = {}
        self.stopped = False

    def hear(self, told: Told) -> None:
        """Receives an event or the last word about a seed."""
        seed, values = self.seeds[told.request], told.values
        if told.is_last:
            self.live.pop(seed, None)
            self._end(seed, told)
        elif "tick" in values:
            self.live[seed] = values["done"] or 0.0, values["tick"]
        else:
            self._tell(seed, values)
        self._tick()

    def settle(self, found: Seeds) -> None:
        """Gives all seeds their results and failures, in the order of the seeds."""
        missing = ("stopped", StoppedError.exit_code) if self.stopped else ("not begun", RecurlmError.exit_code)
        for seed in self.seeds:
            if seed in self.results:
                found.results[seed] = self.results[seed]
            else:
                found.failures[seed] = self.failures.get(seed, missing)

    def _end(self, seed: int, told: Told) -> None:
        if not told.error:
            self.results[seed] = {name: value for name, value in told.values.items() if name != "kept"}
            done = "finished before" if told.values["kept"] else "done"
            self.watcher.say(f"seed {seed}  {done}: valid perplexity {_shown(told.values['valid_perplexity'])}")
            return
        # a process that was asked to stop before its run began has no checkpoint to write
        is_new = told.error not in (text for text, _ in self.failures.values())
        self.failures[seed] = told.error, StoppedError.exit_code if self.stopped else told.code
        if is_new:
            self.watcher.warn(f"seed {seed}: {told.error}")

    def _tell(self, seed: int, values: Mapping[str, Any]) -> None:
        if "say" in values:
            self.watcher.say(f"seed {seed}  {values['say']}")
        else:
            self.watcher.warn(f"seed {seed}  {values.get('warn') or values['warning']}")

    def _tick(self) -> None:
        over = len(self.results) + len(self.failures)
        share = (over + sum(done for done, _ in self.live.values())) / len(self.seeds)
        texts = (f"seed {seed}: {text}" for seed, (_, text) in sorted(self.live.items()))
        self.watcher.tick(share, "  ".join([f"{over} of {counted(len(self.seeds), 'seed')}", *texts]))


def _spreads(found: Seeds, request: TrainingRequest, protocol: str) -> dict[str, Spread]:
    """Mean, deviation and ensemble of each held-out text that all seeds have measured."""
    values = {split: [result[f"{split}_perplexity"] for result in found.results.values()] for split in SPLITS}
    ensembles = _ensembles(found, request, protocol, [split for split in SPLITS if None not in values[split]])
    return {
        split: Spread(
            statistics.fmean(values[split]),
            statistics.stdev(values[split]) if len(values[split]) > 1 else None,
            ensemble,
        )
        for split, ensemble in ensembles.items()
    }


def _ensembles(
    found: Seeds, request: TrainingRequest, protocol: str, splits: Sequence[str]
) -> dict[str, Perplexity | None]:
    """The perplexity of the mean of the models' probabilities on each of these texts."""
    if protocol not in COMPARABLE_PROTOCOLS:
        return dict.fromkeys(splits)
    paths = [Path(result["run"]) for result in found.results.values()]
    models = open_contenders(paths, resolve_device(request.device).type)
    corpus, weights = models[0].corpus, (1 / len(models),) * len(models)
    assert corpus is not None
    texts = {split: corpus.part(split, request.places) for split in splits}
    return {split: mix(models, text, protocol=protocol, weights=weights).perplexity for split, text in texts.items()}
