"""The best word sequences of a lattice, computed exactly and without a beam.

Each node keeps the best paths that lead to it, one for each word sequence. A sequence that is not among the K best at
a node cannot be among the K best at the end, because the same rest of a path continues each of the K better ones.
"""

import heapq
import math
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from recurlm.capacity import check_fits
from recurlm.errors import InputError
from recurlm.rescoring.formats.htk import Arc, Lattice, LatticeScales
from recurlm.rescoring.nbest import Hypothesis

SHOWN_NODES = 10
BYTES_A_PATH = 150
"""Least memory of a path: a tuple of four numbers."""


class _Path(NamedTuple):
    """The summed scores of a path, and the number of its word sequence."""

    total: float
    sequence: int
    acoustic: float
    language: float


class _Sequences:
    """Word sequences by number; each is stored as a shorter sequence plus one word, and 0 is the empty sequence."""

    def __init__(self) -> None:
        self.members: list[tuple[int, str]] = [(0, "")]
        self.numbers: dict[tuple[int, str], int] = {}

    def extend(self, number: int, word: str) -> int:
        """The sequence with one more word; an empty word leaves it unchanged."""
        if not word:
            return number
        found = self.numbers.setdefault((number, word), len(self.members))
        if found == len(self.members):
            self.members.append((number, word))
        return found

    def text(self, number: int) -> str:
        """The words of a sequence."""
        words = []
        while number:
            number, word = self.members[number]
            words.append(word)
        return " ".join(reversed(words))


def best_paths(lattice: Lattice, count: int, scales: LatticeScales) -> list[Hypothesis]:
    """The `count` best distinct word sequences, best first, each with the scores of its best path.

    Raises InputError where the lattice has a cycle or no path to its end.
    """
    incoming: dict[str, list[Arc]] = {}
    for arc in lattice.arcs:
        incoming.setdefault(arc.end, []).append(arc)
    sequences = _Sequences()
    paths = {lattice.start: [_Path(0.0, sequences.extend(0, lattice.first), 0.0, 0.0)]}
    order = _in_order(lattice, incoming)
    _check_paths_fit(lattice, order, incoming, count)
    for node in order:
        if node != lattice.start:
            continued = [_continued(paths[arc.start], arc, scales, sequences) for arc in incoming.get(node, ())]
            paths[node] = _best(continued, count)
    found = _best([iter(paths[end]) for end in lattice.ends if end in paths], count)
    if not found:
        raise InputError(f"{lattice.path}: no path leads from the first node, {lattice.start}, to the end")
    if not all(math.isfinite(value) for path in found for value in (path.total, path.acoustic, path.language)):
        raise InputError(f"{lattice.path}: the scores along a path are too large to be added")
    return [_hypothesis(lattice, number, sequences.text(path.sequence), path) for number, path in enumerate(found, 1)]


def _hypothesis(lattice: Lattice, number: int, text: str, path: _Path) -> Hypothesis:
    # 0.0 - x, because -x of an empty sum would be -0.0
    acoustic = 0.0 - path.acoustic if lattice.has_acoustic else None
    language = 0.0 - path.language if lattice.has_language else None
    return Hypothesis(lattice.head.utterance, number, text, acoustic, language, place=lattice.path)


def _in_order(lattice: Lattice, incoming: dict[str, list[Arc]]) -> list[str]:
    graph = {node: {arc.start for arc in arcs} for node, arcs in incoming.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = error.args[1]
        nodes = " → ".join(cycle[:SHOWN_NODES]) + (f" → … of {len(cycle):,}" if len(cycle) > SHOWN_NODES else "")
        raise InputError(
            f"{lattice.path}: the lattice has a cycle (nodes {nodes}); only acyclic lattices can be read"
        ) from error


def _check_paths_fit(lattice: Lattice, order: list[str], incoming: dict[str, list[Arc]], count: int) -> None:
    """Raises InputError where the best paths to all nodes do not fit in memory."""
    paths = {lattice.start: 1}
    for node in order:
        if node != lattice.start:
            paths[node] = min(sum(paths[arc.start] for arc in incoming.get(node, ())), count)
    needed = BYTES_A_PATH * sum(paths.values())
    check_fits(needed, f"{lattice.path}: {count:,} word sequences", "ask for fewer with --nbest", error=InputError)


def _continued(paths: list[_Path], arc: Arc, scales: LatticeScales, sequences: _Sequences) -> Iterator[_Path]:
    added = scales.total(arc)
    for path in paths:
        yield _Path(
            path.total + added,
            sequences.extend(path.sequence, arc.word),
            path.acoustic + arc.acoustic,
            path.language + arc.language,
        )


def _best(sorted_paths: list[Iterator[_Path]], count: int) -> list[_Path]:
    """The best paths of several sorted lists, one for each word sequence."""
    best: dict[int, _Path] = {}
    for path in heapq.merge(*sorted_paths, key=lambda path: -path.total):
        if path.sequence not in best:
            best[path.sequence] = path
            if len(best) == count:
                break
    return list(best.values())
