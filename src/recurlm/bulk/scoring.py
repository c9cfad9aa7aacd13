"""Scores many texts with several processes: one file of scores for each text, and one total."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recurlm.bulk.folder import Record, ScoresFolder
from recurlm.bulk.job import ScoringJob
from recurlm.errors import InputError, RecurlmError, UsageError
from recurlm.evaluation.perplexity import finite
from recurlm.files import check_output_folder
from recurlm.files.partial import remove_abandoned
from recurlm.progress import Watcher
from recurlm.scoring.scores import Totals
from recurlm.text.members import named_files
from recurlm.text.unknown import UnknownRule
from recurlm.wording import counted
from recurlm.workers import Told, Workers

WORKER = "recurlm.bulk.worker"


@dataclass(frozen=True)
class BulkRequest:
    """What the command line asks for.

    texts: files and patterns · out: the folder of scores · shard: which share of the texts is scored here, such as
    (1, 4) for the first of four; None for all.
    """

    job: ScoringJob
    texts: tuple[str, ...]
    out: Path
    processes: int = 1
    shard: tuple[int, int] | None = None

    def files(self) -> list[Path]:
        """The texts of this share. Raises UsageError or InputError for texts that cannot be scored into one folder."""
        for text in self.texts:
            if text == "-":
                raise UsageError("- is standard input, a text of its own; score it without --out, or from a file")
            if Path(text).is_dir():
                raise InputError(f"{text} is a folder; name its files, such as '{Path(text) / '*.txt'}'")
        files = named_files(self.texts)
        ScoresFolder(self.out, self.job.layout).check_names(files)
        for file in files:
            self.job.stimuli(str(file))
        if self.shard is None:
            return files
        number, shares = self.shard
        return files[number - 1 :: shares]


def parse_shard(text: str) -> tuple[int, int]:
    """The share I/N, with I from 1 to N. Raises UsageError for anything else."""
    number, slash, shares = text.partition("/")
    if slash and number.isascii() and number.isdigit() and shares.isascii() and shares.isdigit():
        found = int(number), int(shares)
        if 1 <= found[0] <= found[1]:
            return found
    raise UsageError(f"--shard {text}: write I/N for the I-th of N shares: 1/8, 2/8 and so on to 8/8")


@dataclass
class BulkScores:
    """What was scored: the totals over all texts that have scores, in the order of the texts.

    scored, skipped: number of texts that were scored now, and earlier · failures: of the others, each with its exit
    code · digest: of the texts together; empty where there is none.
    """

    out: Path
    scored: int = 0
    skipped: int = 0
    failures: list[tuple[str, int]] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    seen: bool = False
    digest: str = ""
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        """The object that `score --out --json` prints."""
        totals = self.totals
        return {
            "out": str(self.out),
            "scored": self.scored,
            "skipped": self.skipped,
            "failed": len(self.failures),
            "lines": totals.lines,
            "tokens": totals.tokens,
            "oov": totals.oov,
            "nats": finite(totals.nats),
            "perplexity": finite(totals.perplexity),
            "perplexity_without_oov": finite(totals.without_oov),
            "signature": self.signature,
        }

    @property
    def files(self) -> int:
        """The number of texts."""
        return self.scored + self.skipped + len(self.failures)

    def table(self) -> str:
        """The total in lines."""
        if not self.files:
            return "this share has no file: there are fewer files than shares"
        totals = self.totals
        failed = f", {len(self.failures):,} failed" if self.failures else ""
        rows = [
            ("files", f"{self.scored:,} scored, {self.skipped:,} scored before{failed}"),
            ("tokens", f"{totals.tokens:,}" + (f", {totals.oov:,} of the texts unknown" if totals.oov else "")),
        ]
        if totals.tokens:
            rows += [("nats", f"{totals.nats:.6f}"), ("perplexity", f"{totals.perplexity:.3f}")]
        if totals.without_oov is not None:
            rows.append(("without oov", f"{totals.without_oov:.3f}"))
        if self.signature:
            rows.append(("signature", self.signature))
        return "\n".join(f"{name:<13}{value}" for name, value in rows)

    def raise_failure(self) -> None:
        """Raises an error with the exit code of the first failure, if there is one."""
        if not self.failures:
            return
        error = RecurlmError(
            f"{len(self.failures):,} of {counted(self.files, 'file')} failed; "
            f"the scores of the others are in {self.out}\n"
            "mend them and give the same command again; files that are done are not scored again"
        )
        error.exit_code = self.failures[0][1]
        raise error


def score_files(request: BulkRequest, watcher: Watcher) -> BulkScores:
    """Scores the texts of a request. Their failures are told to the watcher and collected.

    Raises RecurlmError, before it writes, for a model, options or texts that cannot be used, and for a folder with
    scores of another model or of other options.
    """
    request.job.check()
    files = request.files()
    if not files:
        return BulkScores(request.out)
    folder = ScoresFolder(request.out, request.job.layout)
    check_output_folder(request.out)
    remove_abandoned(request.out)
    with Workers(WORKER, min(request.processes, len(files))) as workers:
        opened = workers.all({"job": asdict(request.job)})
        if opened["remark"]:
            watcher.warn(f"# {opened['remark']}")
        folder.check_settings(files, opened["settings"])
        course = _Course(files, watcher)
        for told in workers.answers([{"file": str(file), "out": str(request.out)} for file in files]):
            course.hear(told)
        result = course.result(request.out)
        _sign(result, workers)
    return result


def _sign(result: BulkScores, workers: Workers) -> None:
    """Lets a worker sign the total; without one that lives it has no signature."""
    count = result.scored + result.skipped
    request = {"totals": asdict(result.totals), "texts": f"files={count}|text=sha256:{result.digest[:8]}"}
    for told in workers.answers([request | {"seen": result.seen}]):
        result.signature = told.values.get("signature", "")


class _Course:
    """Collects what the workers tell about each text, and shows how far they are."""

    def __init__(self, files: Sequence[Path], watcher: Watcher) -> None:
        self.files, self.watcher = files, watcher
        self.records: dict[int, tuple[Record, bool]] = {}
        self.failures: dict[int, tuple[str, int]] = {}
        self.tokens, self.begun = 0, time.monotonic()
        self.partial: dict[int, int] = {}

    def hear(self, told: Told) -> None:
        """Receives an event or the last word about a text."""
        if "warning" in told.values:
            self.watcher.warn(f"recurlm: warning: {told.values['warning']}")
        elif not told.is_last:
            self.partial[told.request] = told.values["tokens"]
        elif told.error:
            self._fail(told.request, told.error, told.code)
        else:
            record = Record(**told.values["record"])
            skipped = told.values["skipped"]
            self.records[told.request] = record, skipped
            self.tokens += 0 if skipped else record.tokens
            self._tell(self.files[told.request], record, skipped)
        if told.is_last:
            self.partial.pop(told.request, None)
        self._tick()

    def result(self, out: Path) -> BulkScores:
        """The total, summed in the order of the texts; a text that no process began is a failure."""
        for number, file in enumerate(self.files):
            if number not in self.records and number not in self.failures:
                self._fail(number, f"{file}: not begun, because every process was killed", RecurlmError.exit_code)
        result = BulkScores(out, failures=[self.failures[number] for number in sorted(self.failures)])
        texts = hashlib.sha256()
        for record, skipped in (self.records[number] for number in sorted(self.records)):
            record.add_to(result.totals)
            texts.update(record.text.encode())
            result.seen |= record.seen
            result.skipped += skipped
            result.scored += not skipped
        result.digest = texts.hexdigest()
        return result

    def _fail(self, number: int, error: str, code: int) -> None:
        said = error if str(self.files[number]) in error else f"{self.files[number]}: {error}"
        self.failures[number] = said, code
        self.watcher.warn(f"recurlm: {said}")

    def _tell(self, file: Path, record: Record, skipped: bool) -> None:
        totals = Totals()
        record.add_to(totals)
        figures = f"perplexity {totals.perplexity:.3f}" if totals.tokens else "no token counts"
        before = ", scored before" if skipped else ""
        self.watcher.step(f"{file}  {counted(totals.tokens, 'token')}  {figures}{before}")

    def _tick(self) -> None:
        over = len(self.records) + len(self.failures)
        rate = (self.tokens + sum(self.partial.values())) / max(time.monotonic() - self.begun, 1e-9)
        self.watcher.tick(
            over / len(self.files), f"{over:,} of {counted(len(self.files), 'file')}  {rate:,.0f} tokens/s"
        )


def unknown_warning(result: BulkScores, oov: str) -> str | None:
    """A warning where many tokens of all texts together are unknown."""
    return UnknownRule.parse(oov).warning(result.totals.oov, result.totals.all_tokens)
