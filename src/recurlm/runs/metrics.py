"""metrics.jsonl: all entries of a run, or the last ones, which say how far it has come and its result."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import opened, read_bounded
from recurlm.files.streams import raw_lines
from recurlm.files.suggestions import did_you_mean
from recurlm.runs.folder import METRICS_FILE, RunFolder

State = Literal["finished", "stopped", "running", "imported", "extended"]
"""What became of a run. `imported` and `extended` runs were written whole, by `import-mxnet` and `vocabulary`."""

Entry = Mapping[str, Any]
Metric = dict[str, Any]


def read_metrics(run: Path) -> list[Metric]:
    """Reads the objects of a run's metrics.jsonl; an incomplete last line is left out.

    Raises InputError where the file does not exist, CorruptFileError with the line for a damaged line before the last.
    """
    path = run / METRICS_FILE
    if not path.exists():
        hint = did_you_mean(run) or "; name a run folder that `recurlm train --out` wrote"
        raise InputError(f"{path}: missing{hint}")
    lines = read_bounded(path, error=CorruptFileError).split(b"\n")
    metrics = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        metric = _parsed(line)
        if metric is not None:
            metrics.append(metric)
        elif number < len(lines):
            raise CorruptFileError(f"{path} line {number}: not a JSON object; remove the line to draw the rest")
    return metrics


@dataclass(frozen=True)
class LastEntries:
    """The last step, the last validated epoch and the final result of a run; empty where there is none."""

    step: Entry
    epoch: Entry
    final: Entry

    @classmethod
    def of(cls, folder: RunFolder) -> "LastEntries":
        """Reads metrics.jsonl; a damaged line counts as no entry. Raises CorruptFileError for no regular file."""
        last = {name: _entry(line) for name, line in _last_lines(folder).items()}
        return cls(*(last.get(f'{{"event": "{name}"'.encode(), {}) for name in ("step", "epoch", "final")))

    @property
    def steps(self) -> int:
        """Steps done, as far as they are logged."""
        return max(_whole(entry.get("step")) for entry in (self.step, self.epoch, self.final))

    @property
    def epochs(self) -> int:
        """Whole epochs done, as far as they are logged."""
        begun = _whole(self.step.get("epoch"))
        return max(_whole(self.epoch.get("epoch")), _whole(self.final.get("epochs")), begun - 1)

    @property
    def results(self) -> dict[str, tuple[float | None, str]]:
        """Perplexity and signature of each held-out text: of the end of the run, else of its last validation."""
        if not self.final:
            return {"valid": _result(self.epoch, "valid_perplexity", "signature")} if self.epoch else {}
        if self.final.get("test_perplexity") is None:
            return {"valid": _result(self.final, "valid_perplexity", "valid_signature")}
        return {
            "valid": _result(self.final, "valid_perplexity", "valid_signature"),
            "test": _result(self.final, "test_perplexity", "signature"),
        }


def state_of(folder: RunFolder, config: Mapping[str, Any], last: LastEntries) -> State:
    """What became of a run, from the lock of its folder, its config.json and its metrics.jsonl."""
    if folder.is_claimed:
        return "running"
    if "extended" in config:
        return "extended"
    if not config["corpus"]["source"]:
        return "imported"
    return "finished" if last.final else "stopped"


def _last_lines(folder: RunFolder) -> dict[bytes, bytes]:
    """The last whole line of each kind of event."""
    path = folder.path / METRICS_FILE
    if not path.exists():
        return {}
    with opened(path, error=CorruptFileError) as file:
        lines = raw_lines(file, str(path), error=CorruptFileError)
        return {line.partition(b",")[0]: line for line in lines if line.endswith(b"\n")}


def _parsed(line: bytes) -> Metric | None:
    try:
        return parse_json_object(line, METRICS_FILE, finite=False, file_names=True)
    except CorruptFileError:
        return None


def _entry(line: bytes) -> Entry:
    with suppress(CorruptFileError):
        return parse_json_object(line, METRICS_FILE, file_names=True)
    return {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _result(entry: Entry, value: str, signature: str) -> tuple[float | None, str]:
    measured = entry.get(value)
    return (float(measured) if isinstance(measured, int | float) else None), str(entry.get(signature, ""))
