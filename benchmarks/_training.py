"""Training jobs: rounds of steps in turn, speeds and losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks._job import Job
from benchmarks._measure import Answer, Contestant, Spread, running, take_turns
from benchmarks._report import Check, Options, Row, agreement
from benchmarks._worker import contestant

CALM = "optimizer.learning_rate=0.1"
"""For streams: at the recipe's rate the first steps overshoot, and rounding alone would drive losses apart."""


@dataclass(frozen=True)
class Target:
    """How many times better a contestant should be than another: at least, and the aim; None asks for nothing."""

    contestant: str
    against: str
    at_least: float | None = None
    aim: float | None = None


def four_contestants(job: Job, options: Options) -> list[Contestant]:
    """recurlm and the idiomatic program: float32, and what each does to be faster."""
    return [
        contestant("recurlm auto", job, "recurlm", "auto", options.device),
        contestant("recurlm fp32", job, "recurlm", "fp32", options.device),
        contestant("idiomatic fp32", job, "idiomatic", "fp32", options.device),
        contestant("idiomatic bf16", job, "idiomatic", "bf16", options.device),
    ]


def requests(warm_up: int, rounds: int, steps: int) -> list[dict[str, Any]]:
    """The warm-up, which is not timed, and then rounds of steps; no batch is seen twice."""
    firsts = range(warm_up, warm_up + rounds * steps, steps)
    return [
        {"do": "train", "first": 0, "steps": warm_up},
        *({"do": "train", "first": first, "steps": steps} for first in firsts),
    ]


@dataclass(frozen=True)
class Trained:
    """Every contestant's answers, the warm-up's first, and its peak memory in megabytes; who was left out, and why."""

    answers: Mapping[str, Sequence[Answer]]
    peaks: Mapping[str, float]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def speeds(self, name: str, unit: str = "sentences") -> list[float]:
        """Sentences or tokens a second of each round."""
        return [answer[unit] / answer["seconds"] for answer in self.answers[name][1:]]

    def seconds(self, name: str) -> list[float]:
        """Seconds of each round."""
        return [answer["seconds"] for answer in self.answers[name][1:]]

    def loss(self, name: str, round: int) -> float:
        """Nats a token over a round; 0 is the warm-up."""
        answer = self.answers[name][round]
        return float(sum(answer["nats"])) / max(sum(answer["counted"]), 1)

    def first_loss(self, name: str) -> float:
        """Nats a token of the very first step: before anything is learned."""
        answer = self.answers[name][0]
        return float(answer["nats"][0]) / max(answer["counted"][0], 1)

    def agreements(self, names: Sequence[str], reference: str) -> list[Check]:
        """Whether those of these contestants that ran had the same loss at the first step and over the last round."""
        names = [name for name in names if name in self.answers]
        return [
            agreement("loss of the first step", {name: self.first_loss(name) for name in names}, reference),
            agreement(
                f"loss of the last {len(self.answers[reference][-1]['nats'])} steps",
                {name: self.loss(name, -1) for name in names},
                reference,
            ),
        ]

    def speed_rows(self, job: str, targets: Sequence[Target], unit: str = "sentences") -> list[Row]:
        """Every contestant's speed, then the ratios to be reached, round by round."""
        speeds = {name: self.speeds(name, unit) for name in self.answers}
        alone = [Row(job, name, Spread.of(values), f"{unit}/s") for name, values in speeds.items()]
        return alone + [
            Row(
                job,
                target.contestant,
                Spread.of(speeds[target.contestant]),
                f"{unit}/s",
                target.against,
                Spread.of_ratios(speeds[target.contestant], speeds[target.against]),
                target.at_least,
                target.aim,
            )
            for target in targets
            if {target.contestant, target.against} <= speeds.keys()
        ]

    def memory_rows(self, job: str, targets: Sequence[Target]) -> list[Row]:
        """Every contestant's peak memory, then how many times less one needs than another."""
        job = f"{job}: peak memory"
        figures = {name: Spread.of([peak]) for name, peak in self.peaks.items() if "products" not in name}
        return [Row(job, name, figure, "MB") for name, figure in figures.items()] + [
            Row(
                job,
                target.contestant,
                figures[target.contestant],
                "MB",
                target.against,
                Spread.of([self.peaks[target.against] / self.peaks[target.contestant]]),
                target.at_least,
                target.aim,
            )
            for target in targets
            if {target.contestant, target.against} <= figures.keys()
        ]


def train(contestants: Sequence[Contestant], requests: Sequence[Mapping[str, Any]]) -> Trained:
    """Let those contestants that can train in turn, the first request to warm up, and ask for their peak memory."""
    left_out = {contestant.name: contestant.unable for contestant in contestants if contestant.unable}
    with running([contestant for contestant in contestants if not contestant.unable]) as processes:
        answers = take_turns(processes, requests)
        peaks = {name: float(process.ask(do="peak")["megabytes"]) for name, process in processes.items()}
    return Trained(answers, peaks, left_out)


def described(options: Options, text: str, rounds: int, steps: int) -> str:
    """The end of a job's description: text, device, repeats."""
    return f"{text}, {options.device}, {rounds} rounds of {steps} steps in turn"
