"""Made files for rescoring: `python tests/made_lists.py FOLDER`.

pairs.txt       1,000 lines `prefix ||| ending`: a right ending, then a wrong one, 500 times
pairs.nbest     the same as whole sentences, an n-best list of two in Mikolov's form
kaldi/          20 utterances of 12 hypotheses: words_text, ac_cost, lm_cost
mikolov.txt     the same list in Mikolov's form, with mikolov.ac and mikolov.lm
list.jsonl      the same list as JSON lines
lattices/       the same list as lattices whose paths are the hypotheses, words on nodes or on arcs, one in two packed
references.txt  what was said
"""

import gzip
import itertools
import json
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CLAUSES = ["the red fruit is a cherry", "the yellow fruit is a lemon", "the green fruit is a lime", "it is sweet"]
PAIRED = CLAUSES[:3]
NOUNS = ["cherry", "lemon", "lime"]
WORDS = sorted({word for clause in CLAUSES for word in clause.split()})
PAIRS, UTTERANCES, HYPOTHESES = 500, 20, 12


@dataclass(frozen=True)
class Made:
    """A hypothesis: words and costs, negative natural logs."""

    text: str
    acoustic: float
    language: float


def pairs() -> list[tuple[str, str, str]]:
    """Prefix, right ending, wrong ending; all different."""
    contexts = itertools.product(CLAUSES, repeat=4)
    made = []
    for context, (clause, wrong) in itertools.product(contexts, itertools.product(PAIRED, NOUNS)):
        prefix, right = " ".join([*context, clause]).rsplit(" ", 1)
        if wrong != right:
            made.append((prefix, right, wrong))
    return made[:: len(made) // PAIRS][:PAIRS]


def nbest() -> tuple[dict[str, list[Made]], dict[str, str]]:
    """Hypotheses of each utterance, best first by their summed costs, and the references."""
    generator = random.Random(5)
    lists, references = {}, {}
    for number in range(1, UTTERANCES + 1):
        reference = " ".join(generator.choices(CLAUSES, k=2))
        texts = [reference]
        while len(texts) < HYPOTHESES:
            changed = edited(generator.choice(texts), generator)
            if changed not in texts:
                texts.append(changed)
        made = [Made(text, round(generator.uniform(50, 60), 3), round(generator.uniform(10, 20), 3)) for text in texts]
        name = f"call-{number:02}"
        lists[name] = sorted(made, key=lambda each: each.acoustic + each.language)
        references[name] = reference
    return lists, references


def edited(text: str, generator: random.Random) -> str:
    """With a word changed, left out or put in."""
    words = text.split()
    at = generator.randrange(len(words))
    words[at : at + generator.choice([0, 1, 1])] = generator.choices(WORDS, k=generator.choice([0, 1, 1]))
    return " ".join(words)


def lattice(name: str, hypotheses: list[Made], *, on_nodes: bool) -> str:
    """A tree of prefixes whose leaves go to one last node; the last arc of a path has its scores."""
    nodes: dict[tuple[str, ...], int] = {(): 0}
    arcs: list[str] = []
    ends: list[str] = []
    for hypothesis in hypotheses:
        words = tuple(hypothesis.text.split())
        for length in range(1, len(words) + 1):
            if words[:length] not in nodes:
                nodes[words[:length]] = len(nodes)
                word = "" if on_nodes else f" W={words[length - 1]}"
                arcs.append(f"S={nodes[words[: length - 1]]} E={nodes[words[:length]]}{word} a=0 l=0")
        ends.append(f"S={nodes[words]} E=END a={-hypothesis.acoustic} l={-hypothesis.language}")
    last = len(nodes)
    arcs += [end.replace("END", f"{last}{'' if on_nodes else ' W=!NULL'}") for end in ends]
    lines = ["VERSION=1.0", f"UTTERANCE={name}", "base=2.718281828459045", "lmscale=1 wdpenalty=0"]
    lines.append(f"N={last + 1} L={len(arcs)}")
    for words, node in nodes.items():
        lines.append(f"I={node} t={len(words)}" + (f" W={words[-1] if words else '<s>'}" if on_nodes else ""))
    lines.append(f"I={last} t=99" + (" W=</s>" if on_nodes else ""))
    lines += [f"J={number} {arc}" for number, arc in enumerate(arcs)]
    return "".join(f"{line}\n" for line in lines)


def write(folder: Path) -> None:
    """All files."""
    for name in ("kaldi", "lattices"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = pairs()
    _write(folder / "pairs.txt", (f"{prefix} ||| {end}" for prefix, *ends in made for end in ends))
    _write(
        folder / "pairs.nbest",
        (f"pair-{number:03} {prefix} {end}" for number, (prefix, *ends) in enumerate(made, 1) for end in ends),
    )
    lists, references = nbest()
    rows = [(name, number, each) for name, members in lists.items() for number, each in enumerate(members, 1)]
    _write(folder / "references.txt", (f"{name} {text}" for name, text in references.items()))
    _write(folder / "kaldi" / "words_text", (f"{name}-{number} {each.text}" for name, number, each in rows))
    _write(folder / "kaldi" / "ac_cost", (f"{name}-{number} {each.acoustic}" for name, number, each in reversed(rows)))
    _write(folder / "kaldi" / "lm_cost", (f"{name}-{number} {each.language}" for name, number, each in rows))
    _write(folder / "mikolov.txt", (f"{name} {each.text}" for name, _, each in rows))
    _write(folder / "mikolov.ac", (f"{each.acoustic}" for _, _, each in rows))
    _write(folder / "mikolov.lm", (f"{name} {each.language}" for name, _, each in rows))
    objects = (
        {"utterance": name, "words": each.text.split(), "acoustic": -each.acoustic, "language": -each.language}
        for name, _, each in rows
    )
    _write(folder / "list.jsonl", map(json.dumps, objects))
    for number, (name, members) in enumerate(lists.items()):
        content = lattice(name, members, on_nodes=number % 4 < 2).encode()
        if number % 2:
            (folder / "lattices" / f"{name}.lat.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / "lattices" / f"{name}.lat").write_bytes(content)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
