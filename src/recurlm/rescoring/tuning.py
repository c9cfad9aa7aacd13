"""Chooses rescoring options by word errors on a development list."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import NBestFile
from recurlm.rescoring.report import References, check_references, first_pass_errors
from recurlm.rescoring.rescorer import RescoredList
from recurlm.rescoring.word_errors import WordErrors, word_errors

WEIGHTS = tuple(step / 20 for step in range(21))
SCALE_FACTORS = (1.0, 0.71, 1.41, 0.5, 2.0, 0.35, 2.8, 0.25, 4.0, 5.7, 8.0, 11.0, 16.0)
"""Factors of the lm scale, nearest first; more of them above 1, as acoustic costs usually come unscaled."""
BONUSES = (0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0)
"""Added to the length bonus after multiplication by the lm scale, in nats per word; nearest first."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Edge:
    """A tuned option with the lowest or the highest value that was tried for it, so better ones may lie beyond."""

    name: str
    value: float
    side: Literal["lowest", "highest"]

    @property
    def option(self) -> str:
        """The option of the command line with its value."""
        return f"--{self.name.replace('_', '-')} {self.value:.10g}"

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --tune --json` prints."""
        return {"name": self.name, "value": self.value, "side": self.side}


@dataclass(frozen=True)
class TunedCombination:
    """The options with the fewest word errors on the development list, and the number of combinations tried.

    first_pass: the recognizer's own errors, under the scales that were given · edges: the options that ended at the
    edge of the values tried.
    """

    combination: Combination
    errors: int
    errors_before: int
    tried: int
    first_pass: WordErrors
    edges: tuple[Edge, ...] = ()

    def __str__(self) -> str:
        return (
            f"tuned on these references, {self.tried} combinations: {self.errors_before} errors before, "
            f"{self.errors} now; not a test result: evaluate the options on another list"
        )

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --tune --json` prints."""
        return {
            **self.combination.to_json(),
            "options": self.combination.options(),
            "errors": self.errors,
            "errors_before": self.errors_before,
            "errors_of_first_pass": self.first_pass.total,
            "tried": self.tried,
            "edges": [edge.to_json() for edge in self.edges],
        }


def tune_combination(
    rescored: Sequence[RescoredList], file: NBestFile, references: References, start: Combination
) -> TunedCombination:
    """Tries every weight, lm scale, and length bonus of a grid around `start`; of equal ones the nearest wins.

    The acoustic scale stays fixed, because only its ratio to the lm scale matters. Other weights are tried only where
    the lists have costs of an old language model, other lm scales only where they have acoustic costs. Raises
    InputError for an utterance without a reference.
    """
    check_references(file, references)
    if not rescored:
        raise InputError(f"{file.place}: no list to tune on")
    table = _Table(rescored, references)
    candidates = _grid(file, start)
    errors = [table.errors(candidate) for candidate in candidates]
    best = errors.index(min(errors))
    return TunedCombination(
        candidates[best],
        errors[best],
        errors[0],
        len(candidates),
        first_pass_errors(file, references, start),
        tuple(_edges(candidates[best], candidates)),
    )


def _edges(best: Combination, candidates: Sequence[Combination]) -> Iterator[Edge]:
    """The options of the best candidate that have the lowest or the highest value tried.

    The values of the length bonus depend on the lm scale, so only those beside the best lm scale count.
    """
    for name in ("weight", "lm_scale", "length_bonus"):
        alike = (each for each in candidates if name != "length_bonus" or each.lm_scale == best.lm_scale)
        values = {getattr(each, name) for each in alike}
        value = getattr(best, name)
        if len(values) > 1 and value in (min(values), max(values)):
            yield Edge(name, value, "lowest" if value == min(values) else "highest")


def _grid(file: NBestFile, start: Combination) -> list[Combination]:
    """All combinations of the grid, by distance from `start` in steps; `start` comes first."""
    weights = sorted({start.weight, *WEIGHTS}, key=lambda weight: abs(weight - start.weight))
    weights = weights if file.has_language_costs else [start.weight]
    factors = SCALE_FACTORS if file.has_acoustic_costs else (1.0,)
    steps = itertools.product(enumerate(weights), enumerate(factors), enumerate(BONUSES))
    nearest = sorted(steps, key=lambda step: sum(number for number, _ in step))
    return [
        Combination(
            weight,
            start.acoustic_scale,
            _short(start.lm_scale * factor),
            _short(start.length_bonus + bonus * start.lm_scale * factor),
        )
        for (_, weight), (_, factor), (_, bonus) in nearest
    ]


def _short(value: float) -> float:
    """The value as it is printed, so that the printed options are those that were tried."""
    return float(f"{value:.6g}")


class _Table:
    """The terms of the total and the word errors of each hypothesis, as padded arrays (utterances, longest list)."""

    def __init__(self, rescored: Sequence[RescoredList], references: References) -> None:
        shape = len(rescored), max(len(each.scored) for each in rescored)
        self.logprob, self.acoustic, self.language, self.graph, self.words = (np.zeros(shape) for _ in range(5))
        self.padding = np.full(shape, -np.inf)
        self.word_errors = np.zeros(shape, np.int64)
        for row, each in enumerate(rescored):
            for column, scored in enumerate(each.scored):
                hypothesis, at = scored.hypothesis, (row, column)
                self.padding[at] = 0
                self.logprob[at] = scored.logprob
                self.acoustic[at] = hypothesis.acoustic_cost or 0
                self.language[at] = hypothesis.language_cost or 0
                self.graph[at] = hypothesis.graph_cost or 0
                self.words[at] = len(hypothesis.words)
                self.word_errors[at] = word_errors(references[each.utterance], hypothesis.words).total

    def errors(self, options: Combination) -> int:
        """Word errors of the best hypotheses under these options."""
        totals = options.combine(self.logprob, self.acoustic, self.language, self.graph, self.words)
        best = (totals + self.padding).argmax(axis=1)
        return int(np.take_along_axis(self.word_errors, best[:, None], axis=1).sum())
