"""`recurlm show`: what one run is, how it did, and how to go on with it."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recurlm.cli.console import JsonOption, RunArgument, print_json
from recurlm.wording import counted

if TYPE_CHECKING:
    from recurlm.runs.summary import RunSummary

WIDTH = 12
COUNTS = ("tokens", "sentences", "bytes")
PART = 5
"""Width of the names of splits."""


def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Describe one run.

    Shows its texts, each recipe key that differs from the default, its results with their signatures, its sizes, its
    last metrics, and the commands that go on with it. Changes nothing.
    """
    from recurlm.runs.folder import RunFolder
    from recurlm.runs.summary import summarize

    summary = summarize(RunFolder(run))
    if as_json:
        print_json(summary.to_json())
        return
    for name, lines in _sections(summary):
        for number, line in enumerate(lines):
            print(f"{'' if number else name:{WIDTH}}{line}".rstrip())


def _sections(summary: "RunSummary") -> "Iterator[tuple[str, list[str]]]":
    yield "run", [f"{summary.run}: {summary.state}", *_conditions(summary)]
    files = [counted(summary.files, "file")] if summary.files else []
    yield "text", [summary.source or "not recorded", *files, *_texts(summary)]
    yield "model", [_model(summary)]
    if summary.start is not None:
        yield "from", [summary.start]
    yield "recipe", [_recipe(summary), *_changes(summary)]
    yield "results", _results(summary)
    if summary.last:
        yield "last log", [_last(summary)]
    yield "sizes", _sizes(summary)
    yield "next", list(summary.next_commands)


def _conditions(summary: "RunSummary") -> list[str]:
    from recurlm.progress import duration

    known = summary.conditions
    begun = [f"begun {known['created']}"] if "created" in known else []
    begun += [f"recurlm {known['recurlm']}"] if "recurlm" in known else []
    rest = [f"seed {known['seed']}"] if "seed" in known else []
    rest += [str(known[key]) for key in ("device", "precision") if key in known]
    rest += [counted(known["threads"], "thread")] if "threads" in known else []
    limit = known.get("time_limit")
    rest += [] if limit is None else [f"time limit {duration(limit)}"]
    return [", ".join(each) for each in (begun, rest) if each]


def _texts(summary: "RunSummary") -> list[str]:
    return [f"{name:{PART}}  {_text(record)}" for name, record in summary.texts.items()]


def _text(record: Any) -> str:
    parts = [counted(record[key], key[:-1]) for key in COUNTS if isinstance(record.get(key), int)]
    if record.get("oov"):
        parts.append(f"{record['oov']:,} read as <unk>")
    if "digest" in record:
        parts.append(f"sha256:{record['digest'][:8]}")
    return ", ".join(parts)


def _model(summary: "RunSummary") -> str:
    parameters = "" if summary.parameters is None else f", {summary.parameters:,} parameters"
    return f"{summary.model}{parameters}, vocabulary of {summary.vocabulary:,}"


def _recipe(summary: "RunSummary") -> str:
    changed = counted(len(summary.changed), "key differs", "keys differ") if summary.changed else "no key differs"
    return f"{summary.recipe or 'no name'}; {changed} from the defaults of the schema"


def _changes(summary: "RunSummary") -> list[str]:
    width = max((len(each.key) for each in summary.changed), default=0)
    return [
        f"{each.key:{width}}  {_toml(each.value)}  (default: {_toml(each.default)})".rstrip()
        for each in summary.changed
    ]


def _results(summary: "RunSummary") -> list[str]:
    lines = []
    for split, (value, signature) in summary.results.items():
        shown = "not finite" if value is None else f"perplexity {value:.2f}"
        lines += [f"{split:{PART}}  {shown}", f"{'':{PART}}  {signature}"]
    length = f"{counted(summary.epochs, 'epoch')}, {counted(summary.steps, 'step')}"
    return [*lines, length] if lines else ["none yet" if summary.steps else "none recorded"]


def _last(summary: "RunSummary") -> str:
    """The figures of the last entry that a person reads."""
    from recurlm.progress import hours_minutes_seconds

    last = summary.last
    parts = [f"{name} {last[name]:,}" for name in ("epoch", "step") if isinstance(last.get(name), int)]
    parts += [f"{name} {last[name]:.4g}" for name in ("loss", "perplexity", "lr") if _is_number(last.get(name))]
    if _is_number(last.get("seconds")):
        parts.append(f"after {hours_minutes_seconds(last['seconds'])}")
    return ", ".join(parts)


def _sizes(summary: "RunSummary") -> list[str]:
    sizes = summary.sizes
    model = [f"model {_bytes(sizes.files['model.safetensors'])}"] if "model.safetensors" in sizes.files else []
    folder = f"{_bytes(sizes.total)} in all, checkpoints {_bytes(sizes.checkpoints)}"
    return [", ".join([*model, folder]), f"state of one text {_bytes(sizes.state)}"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _bytes(size: int) -> str:
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1e3:,.0f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"


def _toml(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
