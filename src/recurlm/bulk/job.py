"""What `recurlm score` does with each text: a job opens its model once and scores texts one after another."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recurlm.devices import resolve_device, slower_than_fp32
from recurlm.errors import UsageError
from recurlm.files import digest_of
from recurlm.interface.model import SEEN, Model, load
from recurlm.models.memory import State
from recurlm.scoring.formats import Writer, open_writer
from recurlm.scoring.scorer import Scorer, ScoringOptions, scoring_options
from recurlm.scoring.scores import Totals
from recurlm.scoring.stimuli import Stimuli, StimulusWriter
from recurlm.text.corpora import open_lines
from recurlm.text.lines import STANDARD_INPUT
from recurlm.text.places import DataPlaces
from recurlm.text.sources import Text
from recurlm.text.tables import table_kind
from recurlm.version import CODE_VERSION

CHECKED = "any.tsv"
"""Stands for the name of a table while options are checked."""


@dataclass(frozen=True)
class ScoringJob:
    """What decides the scores of a text, as the options of `score` name it.

    run: the folder of the model · cache: the folder for unpacked texts; None for that of the environment · the others
    are the options of the same name, and None is an option that is not given.
    """

    run: str
    format: str | None = None
    log_base: str | None = None
    context: str = "reset"
    after: str | None = None
    prompt: str | None = None
    unit: str = "token"
    oov: str = "unk"
    precision: str = "fp32"
    device: str = "auto"
    state_in: str | None = None
    column: str | None = None
    regions: str | None = None
    table: str | None = None
    cache: str | None = None

    def check(self) -> None:
        """Raises UsageError for options that cannot be, or that do not go together."""
        self.options()
        self.stimuli(CHECKED)
        if self.column is None:
            return
        refused = {
            "--log-base": (self.log_base is not None, "surprisal is in bits"),
            "--after": (self.after is not None, "every word of a sentence counts"),
            "--context carry": (self.context != "reset", "every sentence is read alone"),
            "--unit word": (self.unit != "token", "a row already is a word as the reader sees it"),
        }
        for option, (is_given, reason) in refused.items():
            if is_given:
                raise UsageError(f"{option} does not go with --column: {reason}; leave it out")

    @property
    def layout(self) -> str:
        """The format in which the scores are written."""
        return self.format or ("text" if self.column is None else "tsv")

    def options(self) -> ScoringOptions:
        """How lines are scored."""
        predictions = open_writer(self.layout, self.log_base).needs_predictions or self.column is not None
        return scoring_options(self.context, self.after, self.unit, self.oov, self.precision, predictions=predictions)

    def stimuli(self, file: str) -> Stimuli | None:
        """The table that a file is; None where texts are no tables. Raises UsageError for options of tables then."""
        if self.column is None:
            for option, value in (("--region-column", self.regions), ("--table", self.table)):
                if value is not None:
                    raise UsageError(f"{option} describes a table; add --column NAME for the column of its sentences")
            return None
        if self.layout not in ("tsv", "jsonl", "lines"):
            raise UsageError(f"--format {self.format}: a table of stimuli is written as tsv, jsonl or lines")
        return Stimuli(
            column=self.column,
            kind=table_kind(file, self.table),
            name=STANDARD_INPUT if file == "-" else file,
            regions=self.regions,
            lines=self.format == "lines",
            as_json=self.format == "jsonl",
        )


@dataclass
class TextScoring:
    """One text while it is scored; its totals and its signature grow with the lines.

    name: as the user gave it · size: bytes of the text; None where it is unknown · digest: hex SHA-256 of the text;
    empty for standard input and for an empty file · seen: whether the model learned from it.
    """

    name: str
    scorer: Scorer
    writer: Writer
    lines: Iterator[str]
    size: int | None
    digest: str
    seen: bool

    def output(self, watch: Callable[[Iterable[str]], Iterator[str]], done: Callable[[int], None]) -> Iterator[str]:
        """The scores piece by piece, as they are written.

        `watch` receives the lines that are read, and passes them on; `done` the number of tokens of each scored line.
        """
        yield self.writer.head()
        for line in self.scorer.lines(self.writer.scored_parts(watch(self.lines))):
            yield self.writer.line(line)
            done(len(line.words))
        yield self.writer.foot(self.totals, self.name, self.signature())

    @property
    def totals(self) -> Totals:
        """The sums over the lines so far."""
        return self.scorer.totals

    def signature(self) -> str:
        """The signature of the lines so far."""
        return self.scorer.signature(self.digest) + (f"|seen={SEEN}" if self.seen else "") + self.writer.label


@dataclass
class OpenedJob:
    """A job whose model is loaded; `state` is that before each text."""

    job: ScoringJob
    model: Model
    state: State | None = None
    remark: str | None = field(init=False)

    @classmethod
    def of(cls, job: ScoringJob) -> "OpenedJob":
        """Loads the model. Raises InputError or CorruptFileError where it, or the state to start from, is unusable."""
        model = load(job.run, device=resolve_device(job.device).type)
        state = None if job.state_in is None else State.load(Path(job.state_in))
        if job.prompt is not None:
            state = model.read(job.prompt, state=state)
        return cls(job, model, state)

    def __post_init__(self) -> None:
        self.remark = slower_than_fp32(self._scorer().options.precision, self.model.network.device)

    def open(self, file: str) -> TextScoring:
        """A text, ready to be scored; `-` is standard input. Raises as `open_lines`."""
        writer, scorer = self._writer(file), self._scorer()
        scorer.place = writer.place
        cache = None if self.job.cache is None else Path(self.job.cache)
        lines, text = open_lines(file, DataPlaces(cache_directory=cache))
        return TextScoring(file, scorer, writer, lines, *self._described(text, file))

    def settings(self) -> dict[str, Any]:
        """What decides the scores besides the text, for a record: options, digests of model and state, version."""
        scorer = self._scorer()
        options = asdict(self.job) | {
            "format": self.job.layout,
            "precision": scorer.options.precision,
            "device": self.model.network.device.type,
        }
        for place in ("run", "cache", "state_in"):
            del options[place]
        state = None if self.job.state_in is None else digest_of(Path(self.job.state_in))
        return options | {"model": self.model.digest, "state": state, "recurlm": CODE_VERSION}

    def signature(self, totals: Totals, texts: str, seen: bool) -> str:
        """The signature of several texts together; `texts` is what it says of them."""
        scorer = self._scorer()
        scorer.totals = totals
        label = self._writer(CHECKED).label
        return f"{scorer.signature()}|{texts}" + (f"|seen={SEEN}" if seen else "") + label

    def _scorer(self) -> Scorer:
        return self.model.scorer(state=self.state, options=self.job.options())

    def _writer(self, file: str) -> Writer:
        stimuli = self.job.stimuli(file)
        if stimuli is not None:
            return StimulusWriter(stimuli, self.model.codec.tokenization)
        return open_writer(self.job.layout, self.job.log_base)

    def _described(self, text: Text | None, file: str) -> tuple[int | None, str, bool]:
        """Size, digest, and whether the model learned from a text; warns where it was altered since."""
        if text is None:
            return None, "", False
        self.model.warn_if_altered(text, file)
        return text.size, text.sha256, self.model.learned_from(text, file)
