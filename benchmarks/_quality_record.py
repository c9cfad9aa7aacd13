"""The record of a quality measurement: a page with the table of records/README.md, and the summary beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks._quality_plan import Plan
from benchmarks._record import SUMMARY_FILE, write_record
from recurlm.files import write_whole
from recurlm.runs.folder import CONFIG_FILE, METRICS_FILE
from recurlm.version import CODE_VERSION

NOT_YET = "–"
CURVE = ("epoch", "step", "seconds", "perplexity", "valid_perplexity")


def write_quality_record(plan: Plan, out: Path) -> Path | None:
    """Write or renew the record of what is done so far; returns its page, None where no seed is trained yet."""
    parts = ("training", *plan.adaptations)
    seeds = {
        seed: {part: _read(plan.figures(seed, part)) for part in parts}
        for seed in plan.seeds
        if plan.figures(seed, "training").is_file()
    }
    if not seeds:
        return None
    runs = {seed: summarize_run(plan.run(seed)) for seed in seeds}
    values = {"recipe": plan.recipe, "seconds": plan.seconds, "seeds": seeds, "runs": runs}
    summary = json.loads(write_record("quality", values, out).read_bytes())
    page = out / "README.md"
    write_whole(page, _page(plan, seeds, summary["quality"]["circumstances"]).encode())
    return page


def summarize_run(run: Path) -> dict[str, Any]:
    """Returns what a record keeps of a run: its configuration, and the curve with one entry for each validation."""
    events = [json.loads(line) for line in (run / METRICS_FILE).read_text("utf-8").splitlines()]
    return {
        "config": _read(run / CONFIG_FILE),
        "curve": [{key: event.get(key) for key in CURVE} for event in events if event["event"] == "epoch"],
    }


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_bytes()) if path.is_file() else None


def _page(plan: Plan, seeds: dict[int, dict[str, Any]], circumstances: dict[str, Any]) -> str:
    missing = [
        f"seed {seed} {part}" for seed in plan.seeds for part, values in _all_parts(plan, seeds, seed) if not values
    ]
    lines = [f"# Recipe `{plan.recipe}`, {plan.seconds:g} seconds of training", ""]
    if plan.tiny:
        lines += ["Toy sizes on a made text: these figures say nothing.", ""]
    if missing:
        lines += [f"Not complete; still missing: {', '.join(missing)}.", ""]
    lines += [
        "Perplexity under the protocol `stream`. A static figure measures the model as training left it. In the other",
        "columns the model adapts to the text while it reads; its options were chosen on valid. Compare static with",
        "static, adapted with adapted.",
        "",
        *_table(plan, seeds),
        "",
        "Signatures:",
        "",
        *_signatures(seeds),
        "",
        "## Circumstances",
        "",
        *_circumstances(plan, seeds, circumstances),
        "",
        f"All figures, each run's configuration and its curve by epochs: [{SUMMARY_FILE}]({SUMMARY_FILE}).",
    ]
    return "\n".join(lines) + "\n"


def _all_parts(plan: Plan, seeds: dict[int, dict[str, Any]], seed: int) -> list[tuple[str, Any]]:
    return list(seeds.get(seed, dict.fromkeys(("training", *plan.adaptations))).items())


def _table(plan: Plan, seeds: dict[int, dict[str, Any]]) -> list[str]:
    columns = ["valid, static", "test, static", *(f"test, {method}" for method in plan.adaptations)]
    rows = {str(seed): _perplexities(parts, plan.adaptations) for seed, parts in seeds.items()}
    if len(rows) > 1:
        rows["mean"] = [None if None in values else mean(values) for values in zip(*rows.values(), strict=True)]
    lines = [_row(["seed", *columns, "epochs", "steps", "seconds"]), "|---" * (len(columns) + 4) + "|"]
    for name, values in rows.items():
        trained = seeds[int(name)]["training"]["figures"] if name != "mean" else None
        length = (
            [f"{trained['epochs']:,}", f"{trained['steps']:,}", f"{trained['seconds']:.0f}"] if trained else [""] * 3
        )
        lines.append(_row([name, *(NOT_YET if value is None else f"{value:.2f}" for value in values), *length]))
    return lines


def _perplexities(parts: dict[str, Any], adaptations: Sequence[str]) -> list[float | None]:
    trained = parts["training"]["figures"]
    adapted = [parts[method] and parts[method]["figures"]["adapted"]["perplexity"] for method in adaptations]
    return [trained["valid_perplexity"], trained["test_perplexity"], *adapted]


def _signatures(seeds: dict[int, dict[str, Any]]) -> list[str]:
    lines = []
    for seed, parts in seeds.items():
        trained = parts["training"]["figures"]
        lines.append(f"- seed {seed}, valid: `{trained['valid_signature']}`; test: `{trained['signature']}`")
        for part, values in parts.items():
            if values and part != "training":
                lines.append(f"- seed {seed}, {part}: `{values['figures']['adapted']['signature']}`")
    return lines


def _circumstances(plan: Plan, seeds: dict[int, dict[str, Any]], last: dict[str, Any]) -> list[str]:
    facts = [values["circumstances"] for parts in seeds.values() for values in parts.values() if values]

    def every(key: str) -> str:
        return ", ".join(dict.fromkeys(str(fact[key]) for fact in facts if fact[key])) or "not known"

    processor = f"{every('processor')}, {every('cores')} threads"
    machine = f"{every('gpu')}; {processor}" if plan.device == "cuda" else processor
    load = ", ".join(f"{fact['load']:.1f}" for fact in facts)
    rows = {
        "command": f"`{last['command']}`",
        "commit": every("commit"),
        "machine": f"{machine}; load {load}",
        "versions": f"Python {every('python')}, torch {every('torch')}, recurlm {CODE_VERSION}",
        "date": every("date"),
        "signature": "with every perplexity, above",
        "repetitions": f"{len(seeds)} of {len(plan.seeds)} seeds, one run each, all of them above",
    }
    return ["| entry | |", "|---|---|", *(_row([name, value]) for name, value in rows.items())]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
