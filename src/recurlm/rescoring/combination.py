"""The total by which hypotheses are ranked: the recurrent model's log-probability and the recognizer's own costs.

    total = - acoustic_scale acoustic_cost
            + lm_scale [weight ln p + (1 - weight) (- language_cost) - graph_cost]
            + length_bonus words

ln p is the recurrent model's and includes `<eos>`. Costs are negative natural logs, as Kaldi writes them. The best
hypothesis has the largest total (Mikolov et al. 2010, section 3, but interpolating the logs of whole sentences).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import UsageError
from recurlm.rescoring.nbest import Hypothesis, NBestFile

Number = TypeVar("Number", float, NDArray[np.float64])

OLD_ALONE = 0.0
"""The weight at which only the recognizer's old language model counts."""


@dataclass(frozen=True)
class Combination:
    """The weights of the formula above. Raises UsageError for a value outside its range."""

    weight: float = 0.5
    acoustic_scale: float = 1.0
    lm_scale: float = 1.0
    length_bonus: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise UsageError(f"weight {self.weight:g}: must be from 0, the old model alone, to 1, this model alone")
        if not (0 <= self.acoustic_scale < float("inf") and 0 <= self.lm_scale < float("inf")):
            raise UsageError("the acoustic scale and the lm scale must be 0 or above")
        if not abs(self.length_bonus) < float("inf"):
            raise UsageError("the length bonus must be a number")

    def total(self, hypothesis: Hypothesis, logprob: float) -> float:
        """The number by which a hypothesis is ranked; a cost that its list lacks counts as 0."""
        costs = hypothesis.acoustic_cost, hypothesis.language_cost, hypothesis.graph_cost
        acoustic, language, graph = (cost or 0.0 for cost in costs)
        return self.combine(logprob, acoustic, language, graph, float(len(hypothesis.words)))

    def combine(self, logprob: Number, acoustic: Number, language: Number, graph: Number, words: Number) -> Number:
        """The formula, from ln p, three costs and a number of words; floats for one hypothesis, arrays for many."""
        combined = self.weight * logprob - (1 - self.weight) * language - graph
        return self.lm_scale * combined - self.acoustic_scale * acoustic + self.length_bonus * words

    def options(self) -> str:
        """The options of the command line that give this combination."""
        return (
            f"--weight {self.weight:.10g} --acoustic-scale {self.acoustic_scale:.10g} "
            f"--lm-scale {self.lm_scale:.10g} --length-bonus {self.length_bonus:.10g}"
        )

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --json` prints."""
        return {
            "weight": self.weight,
            "acoustic_scale": self.acoustic_scale,
            "lm_scale": self.lm_scale,
            "length_bonus": self.length_bonus,
        }


def combination_for(
    file: NBestFile,
    *,
    weight: float | None = None,
    acoustic_scale: float | None = None,
    lm_scale: float | None = None,
    length_bonus: float | None = None,
) -> Combination:
    """The values given here, and for the others what the files say.

    A lattice names its own scales. The weight is 0.5, or 1 where the lists have no costs of an old language model.
    Raises UsageError for a weight below 1 where they have none.
    """
    if not file.has_language_costs and weight not in (None, 1):
        raise UsageError(
            f"weight {weight:g}: {file.place} has no costs of an old language model to weigh against\n"
            "leave --weight out, or name a file with --language-costs"
        )
    usual = 0.5 if file.has_language_costs else 1.0
    return Combination(
        usual if weight is None else weight,
        file.acoustic_scale if acoustic_scale is None else acoustic_scale,
        file.lm_scale if lm_scale is None else lm_scale,
        file.length_bonus if length_bonus is None else length_bonus,
    )


def old_combination(file: NBestFile, combination: Combination) -> Combination | None:
    """The recognizer's own combination, without the recurrent model; None where the lists have no costs at all."""
    if not file.has_language_costs and not file.has_acoustic_costs:
        return None
    return Combination(OLD_ALONE, combination.acoustic_scale, combination.lm_scale, combination.length_bonus)
