"""The space of a search: keys of the recipe that vary, each over a range or over choices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recurlm.config import MixtureOutput, Recipe
from recurlm.documents import toml_value
from recurlm.errors import UsageError
from recurlm.recipe_files import apply_changes, parse_recipe

SECTIONS = ("batches", "model", "initialisation", "optimizer", "schedule", "average", "training")
"""The other sections decide what a perplexity counts; trials that differ there could not be compared."""
SMALLEST_DROPOUTS = ("model.dropout.input", "model.dropout.output")
LARGEST_DROPOUT = 0.9
FORMS = "key=0.1..0.6, key=log:1e-3..2e-2 or key=16|32|64"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `logarithmic` spreads them evenly over their logarithms."""

    key: str
    low: float
    high: float
    logarithmic: bool = False

    @property
    def whole(self) -> bool:
        """Whether the range has whole numbers only: both ends are written as whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must fit the schema; then all values between them fit."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.key}={'log:' * self.logarithmic}{self.low}..{self.high}"


@dataclass(frozen=True)
class Choice:
    """One of several values of any type."""

    key: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must fit the schema: all of them."""
        return self.values

    def __str__(self) -> str:
        return f"{self.key}={'|'.join(map(json.dumps, self.values))}"


Dimension = Range | Choice


def parse_variation(text: str) -> Dimension:
    """The dimension of one `--vary`: a range, a logarithmic range or choices, written as TOML. Raises UsageError."""
    key, equals, written = (part.strip() for part in text.partition("="))
    if not key or not equals:
        raise UsageError(f"--vary {text}: write it as {FORMS}")
    if key.split(".")[0] not in SECTIONS or "." not in key:
        raise UsageError(f"--vary {text}: trials that differ in it cannot be compared; vary {', '.join(SECTIONS)}")
    if ".." in written:
        return _range(text, key, written)
    values = tuple(toml_value(part.strip(), f"--vary {text:.60}") for part in written.split("|"))
    if len(values) < 2 or any(value in values[:place] for place, value in enumerate(values)):
        raise UsageError(f"--vary {text}: needs two different values at least, such as {key}=16|32|64")
    return Choice(key, values)


def _range(text: str, key: str, written: str) -> Range:
    numbers = written.removeprefix("log:")
    logarithmic = numbers != written
    low, high = (toml_value(part.strip(), f"--vary {text:.60}") for part in numbers.split("..", 1))
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
        raise UsageError(f"--vary {text}: the ends of a range are numbers, such as 0.1..0.6 or log:1e-3..2e-2")
    if not low < high:
        raise UsageError(f"--vary {text}: a range goes from the smaller to the larger number")
    if logarithmic and low <= 0:
        raise UsageError(f"--vary {text}: zero has no logarithm; begin above it, or leave log: out")
    return Range(key, low, high, logarithmic)


def parse_space(variations: Sequence[str], recipe: Recipe) -> tuple[Dimension, ...]:
    """The dimensions of a search over a recipe; without variations, those of `usual_variations`.

    Raises UsageError for a key that is given twice, InputError for values that the schema refuses.
    """
    space = tuple(map(parse_variation, variations or usual_variations(recipe)))
    keys = [dimension.key for dimension in space]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--vary {key}: is given twice; give it once")
        if recipe.validation.protocol == "mxnet" and key.startswith("batches."):
            raise UsageError(f"--vary {key}: the protocol mxnet counts tokens by the batches; leave it out")
    most = max(len(dimension.ends) for dimension in space)
    for place in range(most):
        corner = {each.key: each.ends[min(place, len(each.ends) - 1)] for each in space}
        values = recipe.model_dump(mode="json")
        changes = changes_for(corner)
        apply_changes(values, changes)
        parse_recipe(values, "".join(f"--vary {change} " for change in changes).rstrip())
    return space


def changes_for(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The values as `--set` takes them."""
    return tuple(f"{key}={json.dumps(value)}" for key, value in values.items())


def usual_variations(recipe: Recipe) -> list[str]:
    """The variations of a search that names none: around the learning rate, weight decay and dropouts of the recipe.

    The learning rate varies from a quarter to four times its value, the decay from a tenth to ten times, each dropout
    from 0 to 0.2 above its value. In a recipe without dropout, the dropouts of the first layer's input and of the last
    layer's output vary.
    """
    rate, decay = recipe.optimizer.learning_rate, recipe.optimizer.weight_decay
    variations = [f"optimizer.learning_rate=log:{rate / 4:.4g}..{rate * 4:.4g}"]
    if decay:
        variations.append(f"optimizer.weight_decay=log:{decay / 10:.4g}..{decay * 10:.4g}")
    dropped = {
        f"model.dropout.{name}": rate
        for name, rate in recipe.model.dropout.model_dump().items()
        if isinstance(rate, float) and rate
    }
    if isinstance(recipe.model.output, MixtureOutput) and recipe.model.output.dropout:
        dropped["model.output.dropout"] = recipe.model.output.dropout
    for key, rate in (dropped or dict.fromkeys(SMALLEST_DROPOUTS, 0.3)).items():
        variations.append(f"{key}=0.0..{min(rate + 0.2, LARGEST_DROPOUT):.4g}")
    return variations
