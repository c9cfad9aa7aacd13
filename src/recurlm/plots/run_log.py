"""What one run logged, as series over steps, and the names of the run in a picture."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recurlm.plots.layers import network_name
from recurlm.runs.folder import RunFolder
from recurlm.runs.metrics import Metric, read_metrics
from recurlm.wording import shown_name

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class RunLog:
    """What one run logged, as series over steps; of a step logged twice the last entry counts."""

    run: Path

    @cached_property
    def metrics(self) -> list[Metric]:
        """All objects of the run's metrics.jsonl."""
        return read_metrics(self.run)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return shown_name(self.run.resolve().name)

    @cached_property
    def losses(self) -> Points:
        """Training loss in nats per token, the mean since the previous point."""
        return self.logged("loss")

    @cached_property
    def validations(self) -> Points:
        """Validation perplexity after each epoch."""
        return [(step, value) for step, value in self.series("epoch", "valid_perplexity") if value >= 1]

    @property
    def estimated(self) -> bool:
        """Whether the training losses are estimated from samples of the tokens."""
        return any(metric.get("estimated") for metric in self.metrics)

    @property
    def best(self) -> tuple[int, float] | None:
        """The step and value of the lowest validation perplexity."""
        return min(self.validations, key=lambda point: point[1], default=None)

    @property
    def final(self) -> Metric:
        """The final object of the run, or while it runs that of its last epoch; empty before the first."""
        ends = [metric for metric in self.metrics if metric.get("event") in ("epoch", "final")]
        return ends[-1] if ends else {}

    @cached_property
    def description(self) -> str:
        """Corpus, recipe, and size, with the network in place of an own recipe; else the folder's name."""
        folder = RunFolder(self.run)
        if not folder.holds_run():
            return self.name
        config, recipe = folder.config(), folder.recipe()
        parts = [config.get("corpus", {}).get("name", recipe.corpus)]
        parts.append(config.get("recipe_name") or network_name(recipe.model))
        if "parameters" in config:
            parts.append(f"{config['parameters']:,} parameters")
        return " · ".join(parts)

    @property
    def summary(self) -> str:
        """The run's line in the legend."""
        parts = [self.name] if self.description == self.name else [self.name, self.description]
        if self.best is not None:
            parts.append(f"best {figure_in_words(self.best[1])}")
        return " · ".join(parts)

    def logged(self, key: str) -> Points:
        """(step, value) at every log line; of a run too short for log lines, at the end of every epoch."""
        return self.series("step", key) or self.series("epoch", key)

    def series(self, event: str, key: str) -> Points:
        """(step, value) of every finite and non-negative value, in order of steps."""
        found = {
            metric["step"]: metric[key]
            for metric in self.metrics
            if metric.get("event") == event and is_number(metric.get("step")) and is_number(metric.get(key))
        }
        return sorted(found.items())


def is_number(value: Any) -> bool:
    """Whether a logged value can be drawn: finite and not negative."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def figure_in_words(value: float) -> str:
    """A perplexity in words, such as 68.51 or 12,345."""
    return f"{value:,.2f}" if value < 1000 else plain_number(value)


def plain_number(value: float, _: object = None) -> str:
    """A number without an exponent where it is of usual size; also a formatter of ticks."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:g}"
