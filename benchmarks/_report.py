"""What a measurement gives back, and how it is shown and recorded."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from benchmarks._measure import Spread
from benchmarks._record import circumstances, write_record

Size = Literal["full", "quick", "tiny"]
Value = TypeVar("Value")

LOSS_TOLERANCE = 0.01
BUSY_LOAD = 0.5


@dataclass(frozen=True)
class Options:
    """How much to measure and on what.

    size: full, quick (few repeats, real sizes unless the job says otherwise) or tiny (to see that it all runs) ·
    device: cpu or cuda · mxnet_python: an interpreter that has MXNet 1.9.1, or None.
    """

    size: Size = "full"
    device: str = "cpu"
    mxnet_python: str | None = None

    def pick(self, full: Value, quick: Value, tiny: Value) -> Value:
        """The value for this size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    figure in `unit`, and, against another contestant of the same rounds, how many times better (above 1 is better,
    in speed and in memory). `at_least` and `aim` are the targets of that ratio, `at_most` that of the figure.
    """

    job: str
    contestant: str
    figure: Spread
    unit: str
    against: str = ""
    ratio: Spread | None = None
    at_least: float | None = None
    aim: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median reaches its target; None where there is none."""
        if self.ratio is not None and self.at_least is not None:
            return self.ratio.median >= self.at_least
        return self.figure.median <= self.at_most if self.at_most is not None else None


@dataclass(frozen=True)
class Check:
    """Whether the contestants did the same work."""

    what: str
    passed: bool
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """A measured job: its description, the rows of the table, and the checks.

    left_out: contestants that cannot run on this machine, each with the reason.
    """

    job: str
    description: str
    rows: Sequence[Row]
    checks: Sequence[Check] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that a record keeps."""
        return asdict(self) | {"rows": [asdict(row) | {"met": row.met} for row in self.rows]}


def agreement(what: str, values: Mapping[str, float], reference: str, tolerance: float = LOSS_TOLERANCE) -> Check:
    """Whether every contestant's value is within a tolerance, relative, of the reference contestant's."""
    expected = values[reference]
    # written so that a loss that is no number does not pass
    passed = all(abs(value - expected) <= tolerance * abs(expected) for value in values.values())
    return Check(f"{what} within {tolerance:.0%} of {reference}", passed, dict(values))


def show(result: Result) -> None:
    """Print a result's description, rows and checks."""
    print(f"\n{result.job}: {result.description}")
    print_table(result.rows)
    show_checks(result)


def show_checks(result: Result) -> None:
    """Print who was left out, and whether the contestants did the same work."""
    for name, reason in result.left_out.items():
        print(f"  left out: {name}: {reason}", flush=True)
    for check in result.checks:
        values = ", ".join(f"{name} {value:.4f}" for name, value in check.values.items())
        print(f"  {'agreed' if check.passed else 'NOT AGREED'}: {check.what} ({values})", flush=True)


def print_table(rows: Sequence[Row]) -> None:
    """Job, contestant, figure, ratio with its spread, target, and whether it is met."""
    cells: list[tuple[str, ...]] = [("job", "contestant", "figure", "", "ratio", "against", "target", "")]
    cells += [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cells(row: Row) -> tuple[str, ...]:
    ratio = target = ""
    aim = "" if row.aim is None else f", aim {row.aim:g}"
    if row.ratio is not None:
        ratio = f"{row.ratio.median:.2f} ({row.ratio.low:.2f}–{row.ratio.high:.2f})"
    if row.at_least is not None:
        target = f"≥ {row.at_least:g}{aim}"
    elif row.at_most is not None:
        target = f"≤ {row.at_most:g}{aim} {row.unit}"
    verdict = {True: "met", False: "missed", None: ""}[row.met]
    digits = 0 if row.figure.median >= 100 else 3
    figure = f"{row.figure.median:,.{digits}f}"
    return row.job, row.contestant, figure, row.unit, ratio, row.against, target, verdict


def parse_options(parser: argparse.ArgumentParser) -> tuple[Options, Path | None, argparse.Namespace]:
    """The command line that all measurements share: options, the folder for the record, and all arguments."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const="quick", dest="size", help="few repeats")
    size.add_argument(
        "--tiny", action="store_const", const="tiny", dest="size", help="toy sizes, only to see that it all runs"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mxnet-python", metavar="PYTHON", help="an interpreter that has MXNet 1.9.1 (a peer)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where the record goes (otherwise records/; quick and tiny: nowhere)"
    )
    arguments = parser.parse_args()
    return Options(arguments.size or "full", arguments.device, arguments.mxnet_python), arguments.out, arguments


def record(name: str, results: Sequence[Result], options: Options, out: Path | None) -> Path | None:
    """Write what was measured; a quick or tiny run leaves no record unless a folder is given."""
    if options.size != "full" and out is None:
        return None
    values = {"size": options.size, "device": options.device, "results": [result.to_json() for result in results]}
    return write_record(name, values, out)


def run(name: str, description: str | None, measure: Callable[[Options], Result]) -> None:
    """The main program of one measurement. Exits with 1 where the contestants did not do the same work."""
    options, out, _ = parse_options(argparse.ArgumentParser(description=description))
    print_circumstances(options)
    result = measure(options)
    show(result)
    path = record(name, [result], options, out)
    if path is not None:
        print(path)
    sys.exit(0 if all(check.passed for check in result.checks) else 1)


def print_circumstances(options: Options) -> None:
    """One line: with what."""
    facts = circumstances()
    machine = facts["gpu"] if options.device == "cuda" else f"{facts['processor']}, {facts['cores']} threads"
    products = f", bf16 in hardware: {' '.join(facts['bf16']) or 'no'}" if options.device == "cpu" else ""
    size = "" if options.size == "full" else f"; {options.size}: these figures are not for the record"
    print(f"{machine}{products}, torch {facts['torch']}, commit {facts['commit']}{size}", flush=True)
    if facts["load"] > BUSY_LOAD * facts["cores"]:
        print(f"other programs are running here (load {facts['load']:.1f}): expect wide spreads", flush=True)
