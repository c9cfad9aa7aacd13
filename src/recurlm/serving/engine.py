"""The engine: one thread that owns a model and advances many texts side by side.

Jobs join and leave between any two tokens. What a job draws, and the states that it leaves, do not depend, to the bit,
on which other jobs run beside it: a slot's numbers do not depend on the other slots, and every job has its own random
numbers. A job that fails by itself ends alone; where the step that they share fails, all running jobs fail.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from recurlm.errors import RecurlmError
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State
from recurlm.models.slots import open_slots
from recurlm.serving.jobs import Draw, Job, Listener
from recurlm.serving.running import RunningJob
from recurlm.text.codec import Codec

READ_AT_ONCE = 16
"""Tokens of prompts that are read before texts that are being drawn go on."""
FULL = "the queue is full; try again later"


class BusyError(RecurlmError):
    """The queue is full; the same request may succeed later."""


class ClosedError(RecurlmError):
    """The engine stops and takes no more jobs."""


@dataclass
class EngineCounts:
    """What the engine did so far: tokens read and drawn, jobs ended, failed and cancelled."""

    read: int = 0
    drawn: int = 0
    ended: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass
class Engine:
    """Runs jobs on one model. `slots` jobs run at once, `queue` more may wait.

    round_ends: called in the engine's thread when all listeners of a round have heard their draws and outcomes, and
    before that when those have that waited for a first token.
    """

    model: LanguageModel
    codec: Codec
    digest: str
    slots: int = 64
    queue: int = 256
    counts: EngineCounts = field(default_factory=EngineCounts)
    round_ends: set[Callable[[], None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._slots = open_slots(self.model, self.slots)
        self._free = list(range(self.slots))[::-1]
        self._running: dict[int, RunningJob] = {}
        self._waiting: deque[RunningJob] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="recurlm-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job, listener: Listener) -> RunningJob:
        """Queues a job; `cancel` takes it back.

        Raises BusyError where the queue is full, ClosedError after `close`, InputError for ids that the model lacks.
        """
        running = RunningJob(job, listener, self.codec, self.model.vocabulary_size)
        with self._changed:
            if self._closing:
                raise ClosedError("the server is stopping; try again elsewhere")
            if self.is_full:
                raise BusyError(FULL)
            self._waiting.append(running)
            self._changed.notify()
        return running

    def cancel(self, running: RunningJob) -> None:
        """Ends a job without an outcome, at the latest after the tokens that are computed now."""
        with self._changed:
            running.cancelled = True
            self._changed.notify()

    def close(self, seconds: float | None = None) -> bool:
        """Takes no more jobs and waits until those it has are done; returns False where the time did not suffice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def is_full(self) -> bool:
        """Whether the engine takes no more jobs now."""
        return len(self._waiting) >= len(self._free) + self.queue

    @property
    def load(self) -> tuple[int, int]:
        """Numbers of running and waiting jobs."""
        return len(self._running), len(self._waiting)

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                with torch.no_grad():
                    self._advance()
            except Exception as error:
                for slot, running in list(self._running.items()):
                    running.error = error
                    self._end(slot)
            self._tell_round()

    def _tell_round(self) -> None:
        for tell in tuple(self.round_ends):
            tell()

    def _wait_for_work(self) -> bool:
        """Admits waiting jobs and drops cancelled ones; returns False where the engine is to stop."""
        with self._changed:
            self._drop_cancelled()
            while not self._running and not self._waiting:
                if self._closing:
                    return False
                self._changed.wait()
                self._drop_cancelled()
            while self._waiting and self._free:
                running = self._waiting.popleft()
                slot = self._free.pop()
                running.attempt(self._slots.place, slot, running.job.start.layers)
                self._running[slot] = running
        for slot in [slot for slot, running in self._running.items() if running.is_done]:
            self._end(slot)
        return True

    def _drop_cancelled(self) -> None:
        kept = [running for running in self._waiting if not running.cancelled]
        self.counts.cancelled += len(self._waiting) - len(kept)
        self._waiting = deque(kept)
        for slot in [slot for slot, running in self._running.items() if running.cancelled]:
            del self._running[slot]
            self._free.append(slot)
            self.counts.cancelled += 1

    def _advance(self) -> None:
        """Reads on where prompts are not yet read; then draws a token for each other job, or several at once.

        First tokens that readers wait for are drawn before, and leave while the others are drawn.
        """
        for _ in range(READ_AT_ONCE):
            if not (reading := {slot: job for slot, job in self._running.items() if job.only_reads}):
                break
            self._read(reading)
            self.counts.read += len(reading)
        drawing = {slot: job for slot, job in self._running.items() if not job.only_reads and not job.is_done}
        opening = {slot: drawing.pop(slot) for slot, job in list(drawing.items()) if job.opens_alone}
        if opening:
            self._draw_on(opening)
            self._tell_round()
        if drawing:
            self._draw_on(drawing)
        for slot in [slot for slot, each in self._running.items() if each.is_done]:
            self._end(slot)

    def _draw_on(self, drawing: Mapping[int, RunningJob]) -> None:
        jobs = list(drawing.values())
        banned = {each.job.options.banned for each in jobs}
        if len(banned) == 1 and all(each.is_plain for each in jobs):
            self._burst(drawing, min(min(each.left, each.listener.at_once) for each in jobs), banned.pop())
        else:
            self._draw(jobs, self._slots.logits(self._read(drawing)))

    def _burst(self, drawing: Mapping[int, RunningJob], steps: int, banned: tuple[int, ...]) -> None:
        slots, jobs = list(drawing), list(drawing.values())
        shares = torch.tensor([job.shares(steps) for job in jobs], dtype=torch.float64).t().contiguous()
        tokens = [job.pending[0] for job in jobs]
        drawn = self._slots.burst(slots, tokens, _temperatures(jobs), shares, banned)
        for job, ids in zip(jobs, drawn.t().tolist(), strict=True):
            job.attempt(job.take, list(map(Draw, ids)))
        self.counts.drawn += steps * len(jobs)

    def _read(self, jobs: Mapping[int, RunningJob]) -> Tensor:
        """Each job reads its next token; returns the outputs (N, H)."""
        for slot, job in jobs.items():
            job.attempt(self._keep_state, slot, job)
        return self._slots.read(list(jobs), [job.pending.popleft() for job in jobs.values()])

    def _draw(self, jobs: Sequence[RunningJob], logits: Tensor) -> None:
        asked = [row for row, job in enumerate(jobs) if job.job.alternatives is not None]
        known = Logprobs(logits[asked], self._slots.log_totals(logits[asked])) if asked else None
        ids = self._drawn(jobs, logits)
        draws = [Draw(index) for index in ids]
        for place, row in enumerate(asked):
            assert known is not None
            job = jobs[row]
            draws[row] = job.attempt(known.told, place, ids[row], job.job.alternatives or 0) or draws[row]
        for job, draw in zip(jobs, draws, strict=True):
            job.attempt(job.take, [draw])
        self.counts.drawn += len(jobs)

    def _drawn(self, jobs: Sequence[RunningJob], logits: Tensor) -> list[int]:
        """Draws an id for each row of logits, which are overwritten."""
        plain = [row for row, job in enumerate(jobs) if job.draws_plainly]
        if len(plain) == len(jobs):
            return self._plainly_drawn(jobs, logits)
        ids = [0] * len(jobs)
        for row, job in enumerate(jobs):
            if not job.draws_plainly:
                ids[row] = job.attempt(job.draw, logits[row : row + 1]) or 0
        if plain:
            drawn = self._plainly_drawn([jobs[row] for row in plain], logits[plain])
            for row, index in zip(plain, drawn, strict=True):
                ids[row] = index
        return ids

    def _plainly_drawn(self, jobs: Sequence[RunningJob], logits: Tensor) -> list[int]:
        for banned, row in _rows_by_banned(jobs).items():
            logits[torch.tensor(row)[:, None], torch.tensor(banned, dtype=torch.int64)] = -torch.inf
        shares = torch.tensor([job.shares(1)[0] for job in jobs], dtype=torch.float64)
        ids: list[int] = self._slots.draw(logits, _temperatures(jobs), shares).tolist()
        return ids

    def _keep_state(self, slot: int, job: RunningJob) -> None:
        """Keeps the state of a job that wants it: its slot has read all but the next token."""
        if job.keeps_states:
            job.states.append(State(self._slots.layers(slot), job.pending[0], self.digest))

    def _end(self, slot: int) -> None:
        """Takes a job that is done out of its slot and tells its listener the outcome, or the error."""
        job = self._running[slot]
        job.attempt(self._keep_state, slot, job)
        self._remove(slot)
        job.attempt(lambda: job.listener.ended(job.outcome()))
        if job.error is None:
            self.counts.ended += 1
            return
        self.counts.failed += 1
        with contextlib.suppress(Exception):  # the other jobs go on even where the listener itself is what failed
            job.listener.failed(job.error)

    def _remove(self, slot: int) -> None:
        with self._changed:
            self._free.append(slot)
            del self._running[slot]


def _temperatures(jobs: Sequence[RunningJob]) -> Tensor:
    return torch.tensor([job.job.options.temperature for job in jobs], dtype=torch.float64)


def _rows_by_banned(jobs: Sequence[RunningJob]) -> dict[tuple[int, ...], list[int]]:
    """The rows that ban the same tokens."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, job in enumerate(jobs):
        rows.setdefault(job.job.options.banned, []).append(row)
    return rows


class Logprobs(NamedTuple):
    """Natural log-probabilities of some rows: logits (N, V) less their log-totals (N,)."""

    logits: Tensor
    totals: Tensor

    def told(self, row: int, index: int, alternatives: int) -> Draw:
        """A drawn token with its log-probability and those of the likeliest tokens."""
        logits, total = self.logits[row], float(self.totals[row])
        best = logits.topk(min(alternatives, len(logits)))
        pairs = [(each, logit - total) for each, logit in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
        return Draw(index, float(logits[index]) - total, tuple(pairs))
